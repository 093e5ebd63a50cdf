"""Numbered SQL files that lead an older hub file to the next schema version."""
