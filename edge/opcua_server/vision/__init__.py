"""Machine vision as OPC 40100-1 has it: a VisionSystem for each pipeline that a camera feeds."""
