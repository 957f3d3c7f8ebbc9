"""A run's trajectories for other tools."""
