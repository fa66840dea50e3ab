"""Rows and blobs: what was acknowledged is on disk."""
