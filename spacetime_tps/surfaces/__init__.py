"""Model surfaces of two coordinates, where everything is known exactly."""
