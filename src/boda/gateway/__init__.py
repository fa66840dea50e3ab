"""HTTP to an AWS operation call and back. Knows no service."""
