"""A small reconcile loop over child processes."""
