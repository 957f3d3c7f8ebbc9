"""Transition paths of molecules from the spacetime geometry of diffusion models."""

__version__ = "0.1.0"
