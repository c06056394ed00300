"""What is asked for, one recipe each."""
