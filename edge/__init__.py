"""What runs on a device: one file per process, one file per plug."""
