"""Layer-wise Pre-weight Decay: six weight decays for any torch optimizer, and their measurement.

import lpwd
decay = lpwd.WeightDecay(optimizer, model, method="lpwd", rate=0.01)
"""

import warnings

from lpwd.decay import WeightDecay
from lpwd.layers import layer_index
from lpwd.opposing import OpposingRate

__all__ = ["OpposingRate", "WeightDecay", "layer_index"]
__version__ = "0.1.0"

# `python -m lpwd.layers` runs a module that this package brings in already; Python warns of that.
warnings.filterwarnings("ignore", "'lpwd.layers' found in sys.modules", RuntimeWarning)
