"""Transition path sampling: moves of paths, chains of moves, and what the ensemble is worth."""
