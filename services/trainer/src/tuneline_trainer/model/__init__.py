"""The base model: what it is, what it takes to train it, and how it is loaded."""
