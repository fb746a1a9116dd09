"""OPC UA as a client of PLCs: a session, its security, and values."""
