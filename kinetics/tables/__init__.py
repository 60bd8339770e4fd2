"""Tables of values, and how people see them."""
