"""Resource policies of functions, versions and aliases."""
