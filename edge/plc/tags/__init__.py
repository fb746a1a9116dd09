"""Tag lists: what is read where, of which type, and how its values look on the bus and on the wire."""
