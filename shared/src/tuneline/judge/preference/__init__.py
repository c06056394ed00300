"""Which of two answers a judge prefers, asked in both orders."""
