"""Free energies: windows along a geodesic, annealing there and back, replica exchange."""
