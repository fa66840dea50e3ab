"""HTTP to an AWS operation call and back. Has no code for any one service."""
