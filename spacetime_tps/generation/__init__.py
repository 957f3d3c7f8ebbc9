"""New samples from a denoiser, and how they compare with data."""
