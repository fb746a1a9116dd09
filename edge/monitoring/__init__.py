"""What others are told of a device by HTTP: metrics, KServe's health, models."""
