"""Where a simulated plant is reached when nobody says otherwise: the addresses of edge/sim/demo/device.toml."""

from __future__ import annotations

MODBUS_PORT, CAMERA_PORT = 5020, 5021
