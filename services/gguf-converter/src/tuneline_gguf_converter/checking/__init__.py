"""How a file is proven to be the model that was trained."""
