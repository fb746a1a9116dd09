"""Watches, without labels, whether what comes in and what the model says are still as they were when all was well."""
