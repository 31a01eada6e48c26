"""Simulated instruments: each answers its manual's bytes, in front of the physics that it is given."""
