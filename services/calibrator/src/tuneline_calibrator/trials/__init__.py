"""Trials, what they show, and the page that says it."""
