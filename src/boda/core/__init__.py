"""Names, time, identity and errors that every room shares. No I/O here."""
