"""Statistics of two arms compared with the same people: one difference for each persona or prompt."""
