"""The training itself, by one process or several."""
