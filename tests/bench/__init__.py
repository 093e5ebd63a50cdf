"""Benchmarks: the workloads of the performance guide on our engine, with the fields that the peers' scripts print."""
