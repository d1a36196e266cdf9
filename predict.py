"""Label a whole stack with a trained model, slice by slice.

python predict.py checkpoint=RUN image='raw/*.png' output=labels.tif
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from fibseg import config as configuration
from fibseg.errors import FibsegError
from fibseg.schemas import PredictConfig
from fibseg.sentences import run_with_sentences

if TYPE_CHECKING:
    from rich.console import Console

    from fibseg.stack import Stack

configuration.register()

DOUBTFUL = 0.05
"""Share of a slice's pixels outside the training's grey values above which a person is warned."""


SAME_SIZE = 0.1
"""Voxel sizes that differ by a smaller share are the same."""


@hydra.main(version_base="1.3", config_path="conf", config_name="predict")
def main(composed: DictConfig) -> None:
    """Write the labels and say what to doubt."""
    from rich.console import Console

    from fibseg.runs import find_checkpoint, require_disk
    from fibseg.stack import check_output, open_stack

    config = configuration.predict_config(composed)
    output = Path(config.output)
    check_output(output, config.overwrite)
    stack = open_stack(config.image)
    checkpoint = find_checkpoint(Path(config.checkpoint))
    depth, height, width = stack.shape
    require_disk(output, 0.1 * depth * height * width, "the labels")  # they shrink to less than that
    predict(config, checkpoint, stack, output, Console(soft_wrap=True))


def predict(config: PredictConfig, checkpoint: Path, stack: Stack, output: Path, console: Console) -> None:
    """Predict every slice into a TIFF of the label values of the training's data description."""
    import numpy as np
    from rich.progress import track

    from fibseg.checkpoint import load_model
    from fibseg.hardware import choose_device, cores, set_threads
    from fibseg.prediction import predict_stack
    from fibseg.stack import stack_writer

    model = load_model(checkpoint)
    ours = config.voxel_size or (list(stack.voxel_size) if stack.voxel_size else None)
    scale = pixel_scale(ours, model.voxel_sizes, config.resample, console)
    set_threads(config.threads)
    device = choose_device(config.device)
    precision = model.precision if config.precision == "auto" else config.precision
    values = np.array(model.label_values)
    values = values.astype(np.min_scalar_type(int(values.max())) if values.min() >= 0 else np.int32)
    outside = []
    slices = predict_stack(model, stack, config.window_batch, device, precision, config.threads or cores(), scale)
    shown = track(slices, "predicting", total=stack.shape[0], console=console, disable=not console.is_terminal)
    with stack_writer(output, stack.shape, str(values.dtype), ours) as writer:
        for labels, share in shown:
            writer.write(values[labels])
            outside.append(share)
    doubtful = sum(share > DOUBTFUL for share in outside)
    if doubtful:
        console.print(
            f"warning: {doubtful} of {len(outside)} slices have over {DOUBTFUL:.0%} of their pixels outside the grey "
            f"values of the training ({model.window.low:g} to {model.window.high:g}); look at these labels with care."
        )
    console.print(f"{output}: labels of {stack.shape[0]} slices", highlight=False)


def pixel_scale(
    ours: list[float] | None, trained: Sequence[Sequence[float]], resample: bool, console: Console
) -> tuple[float, float]:
    """How much larger slices must be shown to a network that knows organelles at the size it saw them."""
    if ours is None:
        if resample:
            raise FibsegError("resample=true: the image does not tell its voxel size; give voxel_size=[z,y,x] in nm.")
        console.print("the image does not tell its voxel size; it was not compared (voxel_size=[z,y,x] in nm tells it)")
        return 1.0, 1.0
    nearest = min(trained, key=lambda size: [abs(math.log(ours[k] / size[k])) for k in (1, 2, 0)])
    if max(abs(a / b - 1) for a, b in zip(ours, nearest, strict=True)) < SAME_SIZE:
        return 1.0, 1.0
    scale = ours[1] / nearest[1], ours[2] / nearest[2]
    if resample and max(abs(one - 1) for one in scale) >= SAME_SIZE:
        told = f"slices are shown to the network {scale[0]:.3g} times as high and {scale[1]:.3g} times as wide"
        console.print(f"voxels of {ours} nm, training {list(nearest)} nm: {told}", highlight=False)
        return scale
    sizes = list(map(list, trained))
    in_plane = max(abs(one - 1) for one in scale) >= SAME_SIZE
    offer = "; resample=true brings them together." if in_plane else "."
    console.print(f"warning: voxels of {ours} nm, but the training had {sizes} nm{offer}", highlight=False)
    return 1.0, 1.0


if __name__ == "__main__":
    sys.exit(run_with_sentences(main))
