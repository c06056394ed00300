"""Who writes, edits and judges: a model, or rules."""
