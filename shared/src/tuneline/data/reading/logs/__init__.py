"""Logs of calls to models, and exports that say in their own way who speaks."""
