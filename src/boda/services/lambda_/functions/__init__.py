"""Functions: created, read, configured, deleted."""
