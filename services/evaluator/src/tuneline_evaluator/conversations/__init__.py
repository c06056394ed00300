"""What the personas and the two arms said to each other."""
