"""What was found: figures of samples, curves and paths."""
