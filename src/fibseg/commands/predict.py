"""Label a whole stack with a trained model, slice by slice.

python predict.py checkpoint=RUN image='raw/*.png' output=labels.tif
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from fibseg.config import compose as configuration
from fibseg.config.messages import run_with_sentences
from fibseg.prediction.job import is_finished, make_labeller, outputs_of

if TYPE_CHECKING:  # heavy imports happen when they are needed: --help answers at once
    pass


configuration.register()


@hydra.main(version_base="1.3", config_path=str(configuration.CONF), config_name="predict")
def run(composed: DictConfig) -> None:
    """Label the slices that are not labelled yet, write the outputs, and say what to doubt."""
    from rich.console import Console

    from fibseg.prediction.stack import identity
    from fibseg.prediction.staging import Staging
    from fibseg.prediction.whole_cell import label_stack_into
    from fibseg.stack import check_output, open_stack, read_notes

    config = configuration.predict_config(composed)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    stack = open_stack(config.image)
    labeller, voxel_size = make_labeller(config, stack, console)
    outputs = outputs_of(config, labeller)
    told = identity(labeller, stack, voxel_size)
    notes = [read_notes(one.path) or {} if one.path.exists() else {} for one in outputs]
    if not config.overwrite and all(is_finished(one, told, stack) for one in notes):
        console.print(f"{outputs[0].path}: finished already, by the same model on the same image")
        return
    for output, own in zip(outputs, notes, strict=True):
        begun = output is not outputs[0] and own.get("identity") == told  # a kill between two files
        check_output(output.path, config.overwrite or begun)
    outputs = [replace(one, notes=one.notes | {"identity": told}) for one in outputs]
    staging = Staging(outputs, stack.shape, voxel_size)
    label_stack_into(
        staging,
        labeller,
        stack,
        told,
        (config.shard, config.shards),
        config.skip_unreadable,
        console,
    )


def main() -> int:
    """Run the program on `sys.argv`; gives its exit code."""
    return run_with_sentences(run)


if __name__ == "__main__":
    sys.exit(main())
