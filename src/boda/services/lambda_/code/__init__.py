"""Code: the sources of packages, their validation and their storage."""
