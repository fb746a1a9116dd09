"""Engineering units as OPC UA names them: UNECE Recommendation 20 codes (OPC 10000-8, 5.6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from asyncua import ua

UNECE: Final = "http://www.opcfoundation.org/UA/units/un/cefact"
CODES: Final[Mapping[str, str]] = MappingProxyType({
    "%": "P1", "ppm": "59", "pcs": "H87", "dB": "2N", "pH": "Q30",
    "°C": "CEL", "K": "KEL", "°F": "FAH",
    "bar": "BAR", "mbar": "MBR", "Pa": "PAL", "hPa": "A97", "kPa": "KPA", "MPa": "MPA", "N/mm²": "C56",
    "V": "VLT", "mV": "2Z", "kV": "KVT", "A": "AMP", "mA": "4K", "µA": "B84", "Ω": "OHM", "kΩ": "B49", "Ah": "AMH",
    "W": "WTT", "kW": "KWT", "MW": "MAW", "VA": "D46", "kVA": "KVA", "Wh": "WHR", "kWh": "KWH", "J": "JOU", "kJ": "KJO",
    "Hz": "HTZ", "kHz": "KHZ", "MHz": "MHZ", "1/min": "C94", "1/s": "C97", "rpm": "RPM", "1/h": "H10",
    "m": "MTR", "mm": "MMT", "cm": "CMT", "km": "KMT", "µm": "4H", "°": "DD", "rad": "C81",
    "m/s": "MTS", "mm/s": "C16", "m/min": "2X", "km/h": "KMH", "m/s²": "MSK",
    "s": "SEC", "ms": "C26", "µs": "B98", "min": "MIN", "h": "HUR", "d": "DAY",
    "kg": "KGM", "g": "GRM", "mg": "MGM", "t": "TNE", "kg/h": "E93", "kg/m³": "KMQ",
    "N": "NEW", "kN": "B47", "Nm": "NU",
    "l": "LTR", "ml": "MLT", "m³": "MTQ", "m²": "MTK", "l/min": "L2", "l/h": "E32", "m³/h": "MQH", "m³/s": "MQS",
    "lx": "LUX",
})  # fmt: skip


def unit_id(code: str) -> int:
    """Return the UnitId of a UNECE code: its characters as a number."""
    return int.from_bytes(code.encode("ascii"))


def information(unit: str) -> ua.EUInformation:
    """Return a unit as clients read it; one that is not in the table has its own text alone."""
    text = ua.LocalizedText(unit)
    code = CODES.get(unit)
    if code is None:
        return ua.EUInformation(UnitId=ua.Int32(-1), DisplayName=text, Description=text)
    return ua.EUInformation(NamespaceUri=UNECE, UnitId=ua.Int32(unit_id(code)), DisplayName=text, Description=text)
