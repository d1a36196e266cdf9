"""One training run: compose, build, fit, score, write the run directory.

python train.py data=vnc data.root=DIR experiment=quick seed=1
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fibseg.config import compose as configuration
from fibseg.config.messages import run_with_sentences
from fibseg.runs.directory import RunDirectory
from fibseg.training.opened import check_start, open_run

if TYPE_CHECKING:  # heavy imports happen when they are needed: --help answers at once
    pass


configuration.register()


@hydra.main(version_base="1.3", config_path=str(configuration.CONF), config_name="train")
def run(composed: DictConfig) -> float:
    """Train and score one run; gives the mean F1 of the classes over the validation slices."""
    from rich.console import Console

    from fibseg.data.description import class_names
    from fibseg.data.slices import data_hash, load_slices
    from fibseg.runs.identity import check_same, config_hash, read_config
    from fibseg.training.evaluation import report
    from fibseg.training.opened import check_model
    from fibseg.training.run import train

    config, plain = configuration.train_config(composed)
    slices = load_slices(
        config.data
    )  # before there is a directory: a mistake in the data leaves none
    told = {
        "config_hash": config_hash(plain),
        "data_hash": data_hash(slices, class_names(config.data)),
        "overrides": list(HydraConfig.get().overrides.task),
    }
    directory = RunDirectory(configuration.run_path(config, plain))
    console = Console(soft_wrap=True)
    if not directory.scores.exists():
        check_model(config, slices)
    with directory.lock():
        console.print(f"run {directory.path}", highlight=False)
        before = read_config(directory)
        if before is not None:
            check_same(directory, before, plain | {"provenance": told})
            check_start(config, before, directory)
        if directory.scores.exists():
            console.print("finished already; its scores:")
            directory.remove_state()
            return report(directory, console)
        directory.error.unlink(missing_ok=True)
        try:
            train(open_run(config, plain, told, before, directory, slices, console))
        except (Exception, KeyboardInterrupt):
            directory.error.write_text(traceback.format_exc(), encoding="utf-8")
            raise
        return report(directory, console)


def main() -> int:
    """Run the program on `sys.argv`; gives its exit code."""
    return run_with_sentences(run)


if __name__ == "__main__":
    sys.exit(main())
