"""Layers, their versions and permissions."""
