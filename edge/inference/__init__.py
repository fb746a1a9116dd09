"""From an input to a decision: intake, graphs, verdicts, lanes, insights. Pure but for the engine and the bus."""
