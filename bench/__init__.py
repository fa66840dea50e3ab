"""Benchmarks that compare side by side in one run. `python -m bench` runs them all."""
