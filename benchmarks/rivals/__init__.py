"""Rivals of the codes: other laws of what the same mean forecast does not know (see ../weather_controls.py)."""
