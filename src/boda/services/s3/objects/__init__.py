"""Objects: written, read, copied, deleted, and their versions."""
