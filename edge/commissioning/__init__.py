"""`plantedge commission`: pulls each fault in turn, measures what the PLC gets, and writes the acceptance report."""
