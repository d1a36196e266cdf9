"""BiaPy's semantic segmentation in 2-D, for a number of CPU seconds.

python -m benchmarks.peer_programs.biapy ...

Its template for 2-D semantic segmentation (an attention UNet of 16 to 256 features, batches of six
patches of 256, AdamW, turns and flips). Only these differ: the training ends when the time is
spent; the learning rate falls from 1e-3 by a cosine over that time in place of 360 epochs at 1e-4;
cross-entropy and Dice are both in the loss, as for the other peers; and no epoch is validated,
since the last weights are used. Slices are labelled by BiaPy's own prediction.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from skimage.io import imread, imsave

from benchmarks.peer_programs.budget import SCORED, Job, parse_job

RATE = 1e-3
BATCH = 6
PATCH = (256, 256, 1)


class TimeSpentError(Exception):
    """Ends BiaPy's loop over epochs."""


class TimedLoader:
    """The batches of a loader, until the time is spent; sets the learning rate before each."""

    def __init__(self, job: Job, loader: Any, optimisers: list[Any]):
        self.job = job
        self.loader = loader
        self.optimisers = optimisers
        self.batches = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            if (spent := self.job.share_spent()) >= 1:
                return
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = RATE * (1 + math.cos(math.pi * spent)) / 2
            self.batches += 1
            yield batch


def configuration(job: Job) -> dict[str, Any]:
    """The template, with the paths of this data set."""
    folders = {
        split: {
            "PATH": str(job.slices / split / "images"),
            "GT_PATH": str(job.slices / split / "labels"),
            "IN_MEMORY": True,
        }
        for split in ("train", "validation", "test")
    }
    return {
        "SYSTEM": {"NUM_CPUS": 1, "NUM_WORKERS": 0, "SEED": job.seed, "DEVICE": "cpu"},
        "PROBLEM": {"TYPE": "SEMANTIC_SEG", "NDIM": "2D"},
        "DATA": {
            "PATCH_SIZE": PATCH,
            "N_CLASSES": len(job.classes),
            "TRAIN": folders["train"],
            "VAL": folders["validation"] | {"FROM_TRAIN": False},
            "TEST": folders["test"] | {"LOAD_GT": False, "PADDING": (32, 32)},
        },
        "AUGMENTOR": {"ENABLE": True, "RANDOM_ROT": True, "VFLIP": True, "HFLIP": True},
        "MODEL": {"ARCHITECTURE": "attention_unet", "FEATURE_MAPS": [16, 32, 64, 128, 256]},
        "LOSS": {"TYPE": ["DICE", "CE"]},
        "TRAIN": {
            "ENABLE": True,
            "OPTIMIZER": ["ADAMW"],
            "LR": [RATE],
            "BATCH_SIZE": BATCH,
            "EPOCHS": 1000,
        },
        "TEST": {"ENABLE": True, "AUGMENTATION": False, "FULL_IMG": False},
    }


def train(job: Job, program: Any) -> int:
    """Train until the time is spent; the number of steps."""
    from biapy.engine import base_workflow

    workflow = program.workflow
    epoch = base_workflow.train_one_epoch
    prepare = workflow.prepare_train_generators
    counts: list[int] = []

    def timed_epoch(*args: Any, **options: Any) -> Any:
        loader = TimedLoader(job, options["data_loader"], options["optimizer"])
        result = epoch(*args, **options | {"data_loader": loader})
        counts.append(loader.batches)
        print(f"epoch {len(counts)}, {job.share_spent():.0%}", flush=True)
        if job.share_spent() >= 1:
            raise TimeSpentError
        return result

    def without_validation() -> None:
        prepare()
        workflow.val_generator = None

    base_workflow.train_one_epoch = timed_epoch
    workflow.prepare_train_generators = without_validation
    with suppress(TimeSpentError):
        program.train()
    return sum(counts)


def main() -> None:
    """Train and predict."""
    job = parse_job(argparse.ArgumentParser(description=__doc__))
    # BiaPy looks for GPUs, and takes threads for itself.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from biapy import BiaPy

    program = BiaPy(configuration(job), result_dir=str(job.output / "results"), name="peer")
    torch.set_num_threads(1)
    steps = train(job, program)
    network = program.workflow.model
    facts = job.report(
        iterations=steps,
        parameters=sum(weights.numel() for weights in network.parameters()),
        patch=list(PATCH[:2]),
        batch=BATCH,
        threads=torch.get_num_threads(),
        versions={name: importlib.metadata.version(name) for name in ("biapy", "torch")},
    )
    print(facts, flush=True)
    # Else it looks for the checkpoint of its best epoch.
    program.update_config({"TRAIN.ENABLE": False}, rebuild=False)
    for split in SCORED:
        for path in job.images(split):
            scores = program.predict(imread(path)[..., None])  # (H, W, K)
            labels = scores.argmax(-1).astype(np.uint8)
            imsave(job.output / "labels" / path.name, labels, check_contrast=False)
    job.finish(facts)


if __name__ == "__main__":
    main()
