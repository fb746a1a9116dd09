"""The contract: every message, every topic, every error. Imports nothing of ours."""
