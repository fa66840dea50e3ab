"""Logs, metrics and metering. Appending never waits; writing happens in batches elsewhere."""
