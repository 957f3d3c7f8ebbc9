"""The calibration: a model against restrained dynamics of the molecule."""
