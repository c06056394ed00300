"""Files that people and programs wrote, read so that every problem has a place."""
