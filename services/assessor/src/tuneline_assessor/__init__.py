"""Stage assessor: which transcripts are good enough to learn from."""
