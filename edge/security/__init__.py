"""Identity, boot trust, segmentation and residency of a device."""
