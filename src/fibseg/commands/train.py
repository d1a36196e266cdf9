"""`fibseg train` and train.py: one training run, or a sweep of runs with -m.

python train.py data=vnc data.root=DIR experiment=quick seed=1
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fibseg.config import compose as configuration
from fibseg.config.messages import run_with_sentences
from fibseg.config.schemas import TrainConfig
from fibseg.runs.directory import RunDirectory

configuration.register()


@hydra.main(version_base="1.3", config_path=str(configuration.CONF), config_name="train")
def run(composed: DictConfig) -> float:
    """Train and score one run; gives the mean F1 of the classes over the validation slices."""
    config, plain = configuration.train_config(composed)
    overrides = list(HydraConfig.get().overrides.task)
    directory = RunDirectory(configuration.run_path(config, plain))
    return train_run(config, plain, overrides, directory)


def train_run(
    config: TrainConfig, plain: dict[str, Any], overrides: list[str], directory: RunDirectory
) -> float:
    """Train and score a run in its directory, or report it where it is finished already.

    Returns:
        The mean F1 of the classes over the validation slices.

    Raises:
        FibsegError: a mistake in the data or the configuration, or another process is in the run.
    """
    # torch and Lightning are imported here, so that --help answers at once.
    from rich.console import Console

    from fibseg.data.description import class_names
    from fibseg.data.slices import data_hash, load_slices
    from fibseg.runs.identity import config_hash
    from fibseg.training.evaluation import report
    from fibseg.training.opened import Request, check_earlier, check_model, open_run
    from fibseg.training.run import train

    # Read before there is a directory, so that a mistake in the data leaves none.
    slices = load_slices(config.data)
    hashes = {
        "config_hash": config_hash(plain),
        "data_hash": data_hash(slices, class_names(config.data)),
        "overrides": overrides,
    }
    request = Request(config, plain, slices, hashes)
    console = Console(soft_wrap=True)
    if not directory.scores.exists():
        check_model(config, slices)
    with directory.lock():
        console.print(f"run {directory.path}", highlight=False)
        check_earlier(request, directory)
        if directory.scores.exists():
            console.print("finished already; its scores:")
            directory.remove_state()
            return report(directory, console)
        directory.error.unlink(missing_ok=True)
        try:
            train(open_run(request, directory, console))
        except (Exception, KeyboardInterrupt):
            directory.error.write_text(traceback.format_exc(), encoding="utf-8")
            raise
        return report(directory, console)


def main() -> int:
    """Run the program on `sys.argv`; gives its exit code."""
    sys.argv = configuration.with_user_folder(sys.argv)
    return run_with_sentences(run)


if __name__ == "__main__":
    sys.exit(main())
