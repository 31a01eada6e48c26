"""Instruments: one ophyd Device per family, one driver per protocol."""
