"""Stage generator: conversations to learn from, written by a model."""
