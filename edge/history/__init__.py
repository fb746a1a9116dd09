"""The local time-series store: points, writing, forwarding, retention, queries."""
