"""A function's settings: their rules, and their form in answers."""
