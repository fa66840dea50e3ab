"""What isolation this machine really gives: promises are tried in a sandbox of its own."""
