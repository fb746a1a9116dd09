"""Modbus TCP and RTU: lines and units, what is asked of them, and what registers mean."""
