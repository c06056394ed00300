"""What code can see in a text: rules, artifacts, language; and what a set of transcripts shows."""
