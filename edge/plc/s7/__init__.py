"""S7: addresses, requests, and what their answers mean."""
