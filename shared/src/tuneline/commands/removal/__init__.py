"""Transcripts followed through a store and taken out of it, and what no run pins removed."""
