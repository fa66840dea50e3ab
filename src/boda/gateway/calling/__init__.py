"""Which operation a request calls: routed, read, parsed, validated, answered."""
