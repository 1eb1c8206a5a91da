"""Layer-wise Pre-weight Decay: six weight decays for any torch optimizer, and their measurement.

import lpwd
decay = lpwd.WeightDecay(optimizer, model, method="lpwd", rate=0.01)
"""

from lpwd.decay.layers import layer_index
from lpwd.decay.opposing import OpposingRate
from lpwd.decay.weight_decay import WeightDecay

__all__ = ["OpposingRate", "WeightDecay", "layer_index"]
__version__ = "0.1.0"
