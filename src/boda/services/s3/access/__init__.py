"""Permissions on buckets and objects."""
