"""What is told as it changes: subscriptions, their items and deadbands."""
