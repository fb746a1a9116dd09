"""What happens: events, alarms, who may hear of them, and what a client wants of them."""
