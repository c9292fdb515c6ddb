"""Benchmarks, each beside a peer in the same run; `run.py` starts them."""
