"""References, and the documents that recordings are about."""
