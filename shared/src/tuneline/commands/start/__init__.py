"""What comes before a run: a look at this machine, files to begin with, and keys."""
