"""The adapter, and the model that it makes with the base model, as files."""
