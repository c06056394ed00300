"""The judge `recorded`: answers that exist already, in whatever files people and other tools keep them."""
