"""Stage slicer: training examples from the passing transcripts."""
