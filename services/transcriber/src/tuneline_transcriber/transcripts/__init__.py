"""What given transcripts say, in the forms that people have them in."""
