"""Models on a device: contracts, the engine that runs them, slots, and which version serves in each."""
