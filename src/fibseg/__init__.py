"""fibseg: organelle segmentation of FIB-SEM stacks from a few annotated slices.

What a notebook needs stands here, and is loaded when it is used:

    import fibseg as fs
    run = fs.train("phantom", experiment="demo")
    labels = fs.predict(run.path, "cell.tif")
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from fibseg.arrays import IGNORE

if TYPE_CHECKING:
    from fibseg.errors import FibsegError
    from fibseg.filters.grain import grain_filter
    from fibseg.interface.calls import collect, load_model, load_slices, picture, score, train
    from fibseg.interface.frames import Comparison
    from fibseg.interface.labelling import predict, predict_objects
    from fibseg.stack import open_stack

__version__ = "0.1.0"

__all__ = [
    "IGNORE",
    "Comparison",
    "FibsegError",
    "__version__",
    "collect",
    "grain_filter",
    "load_model",
    "load_slices",
    "open_stack",
    "picture",
    "predict",
    "predict_objects",
    "score",
    "train",
]

# OpenMP reads it when torch loads it. By default torch's threads spin for long while they wait for
# each other, on cores that the threads that filter need.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_MODULES = {
    "Comparison": "fibseg.interface.frames",
    "FibsegError": "fibseg.errors",
    "grain_filter": "fibseg.filters.grain",
    "open_stack": "fibseg.stack",
    "predict": "fibseg.interface.labelling",
    "predict_objects": "fibseg.interface.labelling",
}
_INTERFACE = "fibseg.interface.calls"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fibseg' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES.get(name, _INTERFACE)), name)


def __dir__() -> list[str]:
    return __all__
