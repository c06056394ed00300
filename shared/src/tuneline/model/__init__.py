"""Base models and llama.cpp: chat templates, tokens, servers."""
