"""From slices to the rows of each step."""
