"""Versions and aliases, and how a version becomes Active."""
