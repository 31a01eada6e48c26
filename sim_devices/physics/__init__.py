"""Physics of the simulated laboratory: numpy, no I/O, hidden truth apart from what instruments read."""
