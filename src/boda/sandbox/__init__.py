"""Isolation: what a sandbox is, the plan of one, and the code that applies it."""
