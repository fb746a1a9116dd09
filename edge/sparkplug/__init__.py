"""Sparkplug B 3.0 as an edge node speaks it: payloads, metrics, and the order in which they may be said."""
