"""Stage gguf-converter: merge, convert and quantise to a file people can run."""
