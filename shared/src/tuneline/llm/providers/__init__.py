"""Providers: one file each with the official SDK, over one protocol."""
