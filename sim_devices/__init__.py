"""A laboratory that is not there: physics, and instruments that speak the same bytes."""
