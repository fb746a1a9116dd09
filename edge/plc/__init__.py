"""Between the bus and a PLC: tags, requests, polling, outputs under a lease, and the write path."""
