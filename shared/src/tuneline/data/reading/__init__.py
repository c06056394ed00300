"""Transcripts as they come: formats, shapes and repairs, up to our own shape."""
