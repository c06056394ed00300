"""Language models behind an API: turns, retries and limits over one provider per file."""
