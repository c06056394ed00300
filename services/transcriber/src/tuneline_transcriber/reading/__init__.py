"""References and what is written about them: documents, and transcripts that exist already."""
