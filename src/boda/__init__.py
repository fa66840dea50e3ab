"""boda: AWS Lambda for machines you own."""

__version__ = "0.1.0"
