"""The main job: samples, denoiser, geodesics, annealed paths, reactive trajectories, and the figures of them all."""
