"""What all figures have in common."""

DPI = 150
"""Dots per inch of every figure."""
