"""What the camera drivers that need a thread share, and what turns triggers and large pictures into frames."""
