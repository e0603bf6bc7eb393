"""Benchmarks: `python -m bench.engine` measures the circuit engine against its peers."""
