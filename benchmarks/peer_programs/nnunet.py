"""nnU-Net v2, configuration 2d, for a number of CPU seconds.

python -m benchmarks.peer_programs.nnunet --stage plan|train [--memory GB] ...

`plan` writes a case for each slice, extracts the fingerprint, plans and preprocesses with nnU-Net's
own code; it counts for nothing. `train` is nnU-Net's trainer, its loss, optimiser, augmentation and
sampling. Only these differ: it ends when the time is spent; its polynomial schedule runs over the
spent time in place of 1,000 epochs; and no batches of validation are computed, on which nnU-Net
decides nothing that is used here (it predicts with the last weights). Test slices are labelled by
nnU-Net's predictor as it is: windows that overlap by half, mirrored along both axes.

`--memory` is what nnU-Net plans for (8 GB by default): less of it makes smaller patches.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
from pathlib import Path
from typing import Any

from benchmarks.peer_programs.budget import SCORED, Job, parse_job

DATASET = "Dataset001_peer"


def plans_name(memory: float | None) -> str:
    """Name of the plans for an amount of memory."""
    return "nnUNetPlans" if memory is None else f"nnUNetPlans_{memory:g}GB"


def write_cases(job: Job, raw: Path) -> None:
    """Write the slices in nnU-Net's layout: those of training and validation are its cases."""
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True, exist_ok=True)
    count = 0
    for split in ("train", "validation"):
        for path in job.images(split):
            count += 1
            shutil.copy(path, raw / "imagesTr" / f"{path.stem}_0000.png")
            shutil.copy(path.parents[1] / "labels" / path.name, raw / "labelsTr" / path.name)
    description = {
        "channel_names": {"0": "EM"},
        "labels": {name: index for index, name in enumerate(job.classes)},
        "numTraining": count,
        "file_ending": ".png",
    }
    (raw / "dataset.json").write_text(json.dumps(description, indent=1))


def plan(job: Job, memory: float | None) -> None:
    """Plan and preprocess, with our validation slices as the only fold."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    write_cases(job, job.work / "raw" / DATASET)
    extract_fingerprints([1], num_processes=1, check_dataset_integrity=True)
    name = plan_experiments(
        [1],
        gpu_memory_target_in_gb=memory,
        overwrite_plans_name=None if memory is None else plans_name(memory),
    )
    preprocess([1], name, configurations=("2d",), num_processes=(1,))
    split = {
        "train": [path.stem for path in job.images("train")],
        "val": [path.stem for path in job.images("validation")],
    }
    folder = job.work / "preprocessed" / DATASET
    (folder / "splits_final.json").write_text(json.dumps([split]))


def train(job: Job, memory: float | None) -> None:
    """Train until the time is spent, then label the slices of both scored splits."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class TimedTrainer(nnUNetTrainer):
        """nnU-Net's trainer, by CPU time in place of epochs."""

        iterations = 0

        def run_training(self) -> None:
            self.on_train_start()
            self.network.train()
            while (spent := job.share_spent()) < 1:
                # PolyLRScheduler of nnU-Net, whose exponent is .9.
                for group in self.optimizer.param_groups:
                    group["lr"] = self.initial_lr * (1 - spent) ** 0.9
                loss = float(self.train_step(next(self.dataloader_train))["loss"])
                self.iterations += 1
                if self.iterations in (1, 2, 5) or self.iterations % 20 == 0:
                    print(f"iteration {self.iterations}, loss {loss:.3f}, {spent:.0%}", flush=True)

    folder = job.work / "preprocessed" / DATASET
    plans = json.loads((folder / f"{plans_name(memory)}.json").read_text())
    trainer: Any = TimedTrainer(
        plans=plans | {"continue_training": False},
        configuration="2d",
        fold=0,
        dataset_json=json.loads((folder / "dataset.json").read_text()),
        device=torch.device("cpu"),
    )
    trainer.run_training()
    configuration = trainer.configuration_manager
    facts = job.report(
        iterations=trainer.iterations,
        parameters=sum(weights.numel() for weights in trainer.network.parameters()),
        patch=list(map(int, configuration.patch_size)),
        batch=configuration.batch_size,
        versions={name: importlib.metadata.version(name) for name in ("nnunetv2", "torch")},
    )
    print(facts, flush=True)
    torch.save(trainer.network.state_dict(), job.output / "weights.pt")
    trainer.set_deep_supervision_enabled(False)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        network=trainer.network.eval(),
        plans_manager=trainer.plans_manager,
        configuration_manager=configuration,
        parameters=[trainer.network.state_dict()],
        dataset_json=trainer.dataset_json,
        trainer_name="nnUNetTrainer",
        inference_allowed_mirroring_axes=trainer.inference_allowed_mirroring_axes,
    )
    for split in SCORED:
        for path in job.images(split):
            target = str(job.output / "labels" / path.stem)
            predictor.predict_from_files_sequential([[str(path)]], [target])
            print(f"labelled {path.stem}", flush=True)
    job.finish(facts)


def main() -> None:
    """Plan, or train and predict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=("plan", "train"), required=True)
    parser.add_argument("--memory", type=float, help="GB that nnU-Net plans for")
    job = parse_job(parser)
    folders = {name: str(job.work / name) for name in ("raw", "preprocessed")}
    # All that a training computes is in its own process, and counts. Its planner needs one more.
    processes = "1" if job.options.stage == "plan" else "0"
    os.environ.update(
        nnUNet_raw=folders["raw"],
        nnUNet_preprocessed=folders["preprocessed"],
        nnUNet_results=str(job.output / "results"),
        nnUNet_n_proc_DA=processes,
    )
    {"plan": plan, "train": train}[job.options.stage](job, job.options.memory)


if __name__ == "__main__":
    main()
