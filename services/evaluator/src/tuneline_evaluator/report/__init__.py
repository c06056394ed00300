"""The page that says what follows, and how we know."""
