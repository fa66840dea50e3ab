"""Function URLs: their configs, and the calls through them."""
