"""The hot path: lease of concurrency, environment, outcome."""
