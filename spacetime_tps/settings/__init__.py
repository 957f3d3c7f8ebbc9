"""Settings: what may be written in YAML, with units, descriptions and defaults."""
