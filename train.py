"""One training run: compose, build, fit, score, write the run directory.

python train.py data=vnc data.root=DIR experiment=quick seed=1
"""

from __future__ import annotations

import secrets
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fibseg import config as configuration
from fibseg.config_checks import is_network
from fibseg.errors import FibsegError
from fibseg.runs import RunDirectory
from fibseg.schemas import TrainConfig
from fibseg.sentences import run_with_sentences

if TYPE_CHECKING:  # heavy imports happen when they are needed: --help answers at once
    from rich.console import Console

    from fibseg.dataset import AnnotatedSlice
    from fibseg.training import Run
    from fibseg.transfer import Start

configuration.register()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(composed: DictConfig) -> float:
    """Train and score one run; gives the mean F1 of the classes over the validation slices."""
    from rich.console import Console

    from fibseg.dataset import data_hash, load_slices
    from fibseg.description import class_names
    from fibseg.evaluation import report
    from fibseg.runs import check_same, config_hash, read_config
    from fibseg.training import check_model, train

    config, plain = configuration.train_config(composed)
    slices = load_slices(config.data)  # before there is a directory: a mistake in the data leaves none
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


def open_run(
    config: TrainConfig,
    plain: dict[str, Any],
    told: dict[str, Any],
    before: dict[str, Any] | None,
    directory: RunDirectory,
    slices: dict[str, list[AnnotatedSlice]],
    console: Console,
) -> Run:
    """Settle what the machine decides, or keep what the directory says; write config.yaml."""
    from fibseg.callbacks import usable_checkpoint
    from fibseg.checking import inspect
    from fibseg.intensity import intensity_window
    from fibseg.runs import write_config
    from fibseg.training import Run, make_model, make_project

    window = intensity_window([one.image for one in slices["train"]], config.data.intensity)
    resume_from = usable_checkpoint(directory)
    start = None if resume_from is not None else read_start(config)
    project = make_project(config)
    if start is not None:
        start.apply(make_model(config, window, "32"))  # a file that does not fit leaves no config.yaml
    from_file = start or project
    told |= {"start_hash": from_file.identity() if from_file is not None else None}
    provenance = before["provenance"] if before is not None else told | settle(config)
    if before is None:
        write_config(directory, plain | {"provenance": provenance})
    counts = ", ".join(f"{len(found)} {split.replace('_', ' ')}" for split, found in slices.items() if found)
    console.print(f"data {config.data.name}: {counts} slices; grey values {window.low:g} to {window.high:g}")
    if resume_from is None:
        for finding in inspect(config.data, slices):
            console.print(f"{finding.level}: {finding.text}", markup=False, highlight=False)
    return Run(config, provenance, directory, slices, window, resume_from, start, project, plain, console)


def settle(config: TrainConfig) -> dict[str, Any]:
    """What this machine decides at the start of a run, and a resumed run keeps."""
    from fibseg.hardware import choose_device, choose_precision, set_threads, versions
    from fibseg.models import ARCHITECTURES

    network = is_network(config)
    device = choose_device(config.machine.device)
    threads = set_threads(config.machine.threads)
    depthwise = network and ARCHITECTURES[config.model.architecture].depthwise
    precision = choose_precision(config.training.precision if network else "32", device, depthwise)
    kind = device.type if network else "cpu"
    found = {"device": kind, "threads": threads, "precision": precision, "versions": versions()}
    return found | {"tracking_id": secrets.token_hex(6)}


def read_start(config: TrainConfig) -> Start | None:
    """The weights to start from, where the configuration says so."""
    from fibseg.checkpoint import load_model
    from fibseg.runs import find_checkpoint
    from fibseg.transfer import Start, imagenet_weights, read_weights

    source = configuration.start_source(config)
    if source is None:
        return None
    if config.init_from is not None:
        return Start(source, run=load_model(find_checkpoint(Path(source))))
    return Start(source, imagenet_weights(config.model.encoder) if source == "imagenet" else read_weights(Path(source)))


def check_start(config: TrainConfig, before: dict[str, Any], directory: RunDirectory) -> None:
    """FibsegError if the weights, or the project, that the run began from have changed; they may be gone."""
    from fibseg.ilastik import digest_of

    source = configuration.start_source(config)
    project = Path(config.model.project) if config.model.architecture == "ilastik" else None
    if project is not None and project.exists() and digest_of(project) != before["provenance"].get("start_hash"):
        raise FibsegError(f"{directory.path}: was made with another {project}; give another name=, or delete it.")
    if source is None or source == "imagenet" or not Path(source).exists():
        return
    if (start := read_start(config)) and start.identity() != before["provenance"].get("start_hash"):
        raise FibsegError(f"{directory.path}: began with other weights of {source}; give another name=, or delete it.")


if __name__ == "__main__":
    sys.exit(run_with_sentences(main))
