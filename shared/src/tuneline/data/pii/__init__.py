"""Personal data that has a form: what is looked for, by what, and what stands in its place."""
