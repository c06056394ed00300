"""Who decides which rows are kept."""
