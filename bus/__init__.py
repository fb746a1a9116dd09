"""The one way in and out of MQTT."""
