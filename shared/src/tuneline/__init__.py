"""What the stages of Tuneline share. It is light: no torch, no transformers, and nothing happens on import."""
