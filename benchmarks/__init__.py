"""Measurements of speed; `make bench` prints the table."""
