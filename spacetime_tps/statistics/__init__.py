"""Statistics of samples, whatever they are of: this room knows numpy, scipy and pymbar, and no molecules."""
