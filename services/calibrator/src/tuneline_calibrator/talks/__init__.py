"""What is said in talks and scripts, and how near they come to each other."""
