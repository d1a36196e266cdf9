"""Labels of slices and of whole cells by a trained model.

Here: windows, networks over slices and stacks, ensembles, and outputs that survive a kill.
Not here: training (`fibseg.training`), scores and measures of objects (`fibseg.scores`).
"""

from fibseg.prediction.ensemble import common_precision, common_windows
from fibseg.prediction.exactness import ALLOWED_LOSS, Drift, choose_windows, run_drift, store_choice
from fibseg.prediction.job import predict_stack
from fibseg.prediction.labeller import Labeller
from fibseg.prediction.slices import label_table, model_channels, predict_slices
from fibseg.prediction.stack import LabelledSlice, label_stack
from fibseg.prediction.windows import Windows, chosen_windows, unchecked_windows, windows_of

# All of it needs torch: import it where a network is about to be used, not at the top of a module
# that `--help` or a comparison reads.
__all__ = [
    "ALLOWED_LOSS",
    "Drift",
    "LabelledSlice",
    "Labeller",
    "Windows",
    "choose_windows",
    "chosen_windows",
    "common_precision",
    "common_windows",
    "label_stack",
    "label_table",
    "model_channels",
    "predict_slices",
    "predict_stack",
    "run_drift",
    "store_choice",
    "unchecked_windows",
    "windows_of",
]
