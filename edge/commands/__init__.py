"""What stands behind the commands of `plantedge`, besides `up`."""
