"""A simulated plant with real protocol servers, and the example device that it feeds."""
