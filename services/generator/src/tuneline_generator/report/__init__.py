"""What was found, in figures, in words and as a page."""
