"""What a function may be set to, and how its settings are answered."""
