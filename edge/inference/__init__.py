"""From an input to a decision: contracts, slots, windows, pipelines, verdicts. Pure but for the engine."""
