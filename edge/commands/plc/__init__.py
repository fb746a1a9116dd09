"""`plantedge plc read|watch|write|browse`: a PLC looked into by its driver, with settings or without."""
