"""`plantedge up`: a whole device on this machine, with its plant and its fleet, and proof that it works."""
