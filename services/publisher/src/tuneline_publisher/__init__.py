"""Stage publisher: a release of what a run made."""
