"""Invoke in all its forms, and the handling of asynchronous events."""
