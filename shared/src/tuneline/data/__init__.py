"""What travels between stages: one closed model per file, for its writer and all its readers."""
