"""What several test modules share: real host processes and README sessions."""
