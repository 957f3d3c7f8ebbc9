"""The stages of the main job, in order: samples, denoiser, geodesics, paths, reactive, results.

Each reads what it needs from the files of the stages before it, so a run that was interrupted goes on as if it had
not been.
"""
