"""Who speaks for the personas: their scripts, or a model that plays them."""
