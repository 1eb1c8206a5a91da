"""Layer-wise Pre-weight Decay: six weight decays for any torch optimizer, and their measurement.

import lpwd
decay = lpwd.WeightDecay(optimizer, model, method="lpwd", rate=0.01)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lpwd.decay.layers import layer_index
    from lpwd.decay.opposing import OpposingRate
    from lpwd.decay.weight_decay import WeightDecay

__all__ = ["OpposingRate", "WeightDecay", "layer_index"]
__version__ = "0.1.0"

#: {name: where it is}. Imported when it is asked for: commands answer before torch is there.
_MODULES = {
    "OpposingRate": "lpwd.decay.opposing",
    "WeightDecay": "lpwd.decay.weight_decay",
    "layer_index": "lpwd.decay.layers",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lpwd' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
