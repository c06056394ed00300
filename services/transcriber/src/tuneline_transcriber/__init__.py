"""What recordings say and when, and the text of documents."""
