"""Lists of objects, versions and uploads."""
