"""What MES and SCADA read as JSON: how it is made, and what waits for a broker."""
