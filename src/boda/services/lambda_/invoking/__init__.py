"""Invoke in all its forms, and how asynchronous events are handled."""
