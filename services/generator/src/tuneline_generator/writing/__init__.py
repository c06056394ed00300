"""How a model is asked for rows, and what became of each."""
