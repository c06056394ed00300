"""What tests use together: stages, servers, models and data made for them, and the places of the project."""
