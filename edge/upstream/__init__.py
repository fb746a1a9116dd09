"""What may leave the site: the fold of a device's health, and the outbox."""
