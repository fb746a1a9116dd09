"""The page of a device's operators: what each file does is said at its top; `edge/hmi.py` joins them."""
