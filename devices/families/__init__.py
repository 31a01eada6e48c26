"""Families of devices, all that plans know of an instrument: signals, verbs, safe state, tasks."""
