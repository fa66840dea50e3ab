"""Filter patterns."""
