"""Signatures: the key that a request claims, and the verification of the claim."""
