"""Judges: who answers a rubric's questions about a transcript, and how the answers are read."""
