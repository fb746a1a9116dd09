"""The OPC UA server's address space, who may enter, and a client that asks it."""
