"""HTTP without AWS: connections, heads, bodies as they arrive, and their limits."""
