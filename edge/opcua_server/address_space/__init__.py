"""What there is to see: a device as nodes."""
