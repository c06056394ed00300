"""Messages: who speaks, what is said, and which of them are the conversation."""
