"""Codes: what residuals become.

Residuals (B, N, C) of a scale enter a quantizer; codes (B, N) leave, and values from codes. Hidden states of a network
enter a head; laws over codes leave, to be scored and to be drawn from.
"""
