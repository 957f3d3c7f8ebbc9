"""Molecular dynamics with OpenMM: samples, restrained annealing, unbiased shooting."""
