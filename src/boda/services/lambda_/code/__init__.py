"""Code: where packages come from, how they are checked and kept."""
