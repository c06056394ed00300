"""Language models behind an API: turns, retries and limits over one attempt of a provider."""
