"""Figures of merit: pure functions, arrays in, values with unit, uncertainty and definition out."""
