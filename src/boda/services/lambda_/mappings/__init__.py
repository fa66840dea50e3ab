"""Event source mappings."""
