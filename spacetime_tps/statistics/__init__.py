"""Statistics of samples, whatever they are of: this room knows numpy, scipy and pymbar, and no molecules."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
