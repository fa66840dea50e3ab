"""Who may do what with buckets and objects."""
