"""What runs found, read from a store: rows, two runs side by side, many in a table, and what a policy says of them."""
