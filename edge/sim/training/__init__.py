"""Makes the demo's models: `python -m edge.sim.training`. Needs the `train` extra; no process imports it."""
