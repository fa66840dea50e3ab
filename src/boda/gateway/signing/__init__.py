"""Signatures: which key a request claims, and whether the claim holds."""
