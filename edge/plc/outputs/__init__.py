"""From a decision or a request to the PLC: who may write what, when, and what stands there when nobody does."""
