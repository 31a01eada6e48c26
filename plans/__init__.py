"""Experiments: bluesky plans, one module per kind of experiment."""
