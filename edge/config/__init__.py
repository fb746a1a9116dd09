"""A device's settings: read from files with every problem at once, and overridden by topic."""
