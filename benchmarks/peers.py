"""fibseg beside nnU-Net, segmentation_models_pytorch and BiaPy, for the same seconds of CPU time.

python -m benchmarks.peers --root DIR --work FOLDER --nnunet-python PYTHON [--smp-python PYTHON]
    [--biapy-python PYTHON] [--seconds 240] [--seeds 0 1 2] [--jobs 1]
    [--output benchmarks/peers.json]
python -m benchmarks.peers --table benchmarks/peers.json

`DIR` holds vnc. All learn from its ten training slices, may choose by its five validation slices,
and are scored on its five test slices. Each training has one thread and a number of seconds of its
process's own CPU time, so that it does not matter what else the machine does; nothing is timed by
the clock. The modules of `benchmarks.peer_programs` say how each is trained, and what is changed.
Their labels become runs by `fibseg adopt`, in `FOLDER/runs`, so that `fibseg compare
FOLDER/runs/vnc` has them beside ours. The same command again goes on where it was stopped. Rows of
peers that are not trained stay in the output.

A peer needs a Python of its own. Where PyTorch is installed already, in `.venv`, it can be shared:

    python -m venv peers
    realpath .venv/lib/python3.*/site-packages > peers/lib/python3.*/site-packages/shared.pth
    peers/bin/pip install --no-deps nnunetv2 acvl-utils dynamic-network-architectures \\
        batchgenerators batchgeneratorsv2 SimpleITK graphviz seaborn yacs einops blosc2 ndindex \\
        numexpr fft-conv-pytorch segmentation-models-pytorch biapy timm==1.0.14 \\
        "torchmetrics==1.4.*" "xarray==2025.1.*" bioimageio.core==0.9.6 bioimageio.spec==0.5.7.4 \\
        pydot edt fill-voids fastremap opencv-python-headless torchinfo tensorboardX pytorch-msssim

The versions are those that BiaPy 3.7.1 asks for. A step of nnU-Net's own plan takes patches of
1024 x 1024, 7 GiB and tens of seconds here, so that few minutes are a handful of steps.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from skimage.io import imread, imsave

from fibseg.config.compose import load_description
from fibseg.data.description import DataDescription, class_names
from fibseg.data.slices import load_slices
from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.machine import plain_console
from fibseg.models.weight_files import imagenet_weights
from fibseg.runs.directory import RunDirectory
from fibseg.runs.finished import read_run
from fibseg.training.foreign.adoption import Adoption, adopt_labels

PROJECT = Path(__file__).resolve().parents[1]
SPLITS = ("train", "validation", "test")
SMALL_MEMORY = "0.35"
"""GB for which nnU-Net plans patches of 256 x 256 in batches of 2: what fits a few CPU minutes."""


@dataclass(frozen=True)
class Peer:
    """A way to train.

    Attributes:
        name: in tables, and of the model of adopted runs.
        python: interpreter of the peer.
        module: the program, in `benchmarks.peer_programs`.
        arguments: of the program, for a training.
        first: arguments of what is done once, before all trainings; none for nothing.
    """

    name: str
    python: str
    module: str
    arguments: Sequence[str] = ()
    first: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Bench:
    """What all trainings of a benchmark share."""

    description: DataDescription
    work: Path
    seconds: float

    @property
    def runs(self) -> Path:
        """Folder of the runs of the data set."""
        return self.work / "runs" / self.description.name

    def output(self, peer: Peer, seed: int) -> Path:
        """Folder of a training."""
        return self.work / peer.name / f"seed-{seed}"

    def call(self, peer: Peer, arguments: Sequence[str], output: Path, seed: int) -> None:
        """Run a peer's program; its text goes to log.txt."""
        output.mkdir(parents=True, exist_ok=True)
        command = [
            *(peer.python, "-m", f"benchmarks.peer_programs.{peer.module}", *arguments),
            *("--slices", str(self.work / "slices")),
            *("--work", str(self.work / peer.module), "--output", str(output)),
            *("--seed", str(seed), "--seconds", str(self.seconds)),
            *("--classes", *class_names(self.description)),
        ]
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS"), "1")
        with (output / "log.txt").open("a", encoding="utf-8") as log:
            subprocess.run(
                command,
                cwd=PROJECT,
                env=os.environ | one_thread,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
            )


def write_slices(description: DataDescription, folder: Path) -> None:
    """Write the slices of all splits as PNG: images in 8 bits, labels as class indices."""
    for split, slices in load_slices(description).items():
        for name in ("images", "labels"):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
        for annotated in slices:
            name = f"z{annotated.z:02d}.png"
            pairs = (("images", annotated.grey_values), ("labels", annotated.labels))
            for kind, pixels in pairs:
                imsave(folder / split / kind / name, pixels, check_contrast=False)


def train(bench: Bench, peer: Peer, seed: int) -> None:
    """Train once, and adopt the labels; a training that is finished is not repeated."""
    output = bench.output(peer, seed)
    if not (output / "facts.json").is_file():
        print(f"{peer.name}, seed {seed}: training", flush=True)
        bench.call(peer, peer.arguments, output, seed)
    print(f"{peer.name}, seed {seed}: done", flush=True)


def adopt(bench: Bench, peer: Peer, seed: int) -> RunDirectory:
    """Make the run of a training's labels, or find the run that fibseg made."""
    output = bench.output(peer, seed)
    facts = json.loads((output / "facts.json").read_text())
    if "run" in facts:
        return RunDirectory(bench.runs / facts["run"])
    description = bench.description
    values = [
        description.background.labels[0],
        *(entry.label for entry in description.classes.values()),
    ]
    adopted = output / "adopted"
    adopted.mkdir(exist_ok=True)
    for path in sorted((output / "labels").glob("*.png")):
        labels = np.array(values, np.uint8)[imread(path)]
        imsave(adopted / path.name, labels, check_contrast=False)
    adoption = Adoption(
        predictions=[str(adopted)],
        model=peer.name,
        seed=seed,
        # Of CPU time and one thread, where runs of fibseg state those of the clock.
        seconds=facts["cpu_s"],
        device="cpu",
        parameters=facts["parameters"],
        peak_gib=facts["peak_gib"],
    )
    with (output / "log.txt").open("a", encoding="utf-8") as log:
        return adopt_labels(adoption, description, bench.runs, plain_console(file=log))


def row_of(bench: Bench, peer: Peer, seed: int) -> dict[str, Any]:
    """Facts and scores of a training."""
    facts = json.loads((bench.output(peer, seed) / "facts.json").read_text())
    facts.pop("run", None)
    run = read_run(adopt(bench, peer, seed).path)
    row: dict[str, Any] = {"peer": peer.name, "data_hash": run.data_hash, **facts}
    for split in SPLITS[1:]:
        row[split] = {name: round(f1, 4) for name, f1 in run.f1(split).items()}
    row["test_mean"] = round(float(np.mean(list(run.f1("test").values()))), 4)
    row["test_iou"] = round(run.mean_iou("test"), 4)
    return row


def peers_of(options: argparse.Namespace) -> list[Peer]:
    """The peers for which there is a Python, and fibseg."""
    peers: list[Peer] = []
    if options.nnunet_python:
        plans: dict[str, list[str]] = {"nnunet": [], "nnunet_small": ["--memory", SMALL_MEMORY]}
        for name, memory in plans.items():
            peer = Peer(
                name=name,
                python=options.nnunet_python,
                module="nnunet",
                arguments=("--stage", "train", *memory),
                first=("--stage", "plan", *memory),
            )
            peers.append(peer)
    if options.smp_python:
        weights = options.work / "encoder.safetensors"
        start = ["--weights", str(weights)] if write_encoder(weights) else []
        peers.append(Peer("smp_unet", options.smp_python, "smp", start))
    if options.biapy_python:
        peers.append(Peer("biapy", options.biapy_python, "biapy"))
    own = ["--root", str(options.root), "--runs", str(options.work / "runs")]
    for name, precision, batches in (
        ("fibseg", "auto", options.batches),
        ("fibseg_32_bits", "32", options.batches_32),
    ):
        settings = ["--batches", str(batches), "--precision", precision]
        peers.append(Peer(name, sys.executable, "own", own + settings))
    return [peer for peer in peers if not options.only or peer.name in options.only]


def write_encoder(path: Path) -> bool:
    """Write the ImageNet weights of EfficientNet-lite0, if they can be had."""
    try:
        weights = imagenet_weights("tf_efficientnet_lite0")
    except FibsegError as error:
        print(f"segmentation_models_pytorch starts from random weights: {error}")
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    return True


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train all that is not trained yet, and give a row for each training."""
    description = load_description("vnc")
    description.root = str(options.root)
    bench = Bench(description, options.work, options.seconds)
    write_slices(description, bench.work / "slices")
    peers = peers_of(options)
    for peer in peers:
        done = bench.work / peer.name / "first"
        if peer.first and not (done / "done").is_file():
            bench.call(peer, peer.first, done, seed=0)
            (done / "done").touch()
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = {
            (peer.name, seed): pool.submit(train, bench, peer, seed)
            for seed in options.seeds
            for peer in peers
        }
        for peer in peers:
            for seed in options.seeds:
                jobs[peer.name, seed].result()
                rows[peer.name, seed] = row_of(bench, peer, seed)
    return list(rows.values())


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a Markdown row for each peer: means over its seeds, and the range of their mean F1."""
    by_peer: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_peer[row["peer"]].append(row)
    names = list(rows[0]["test"])
    columns = ["", *names, "mean (range)", "foreground IoU", "CPU s", "steps", "parameters"]
    columns.append("memory, GiB")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for peer, of_peer in by_peer.items():
        scores = [np.mean([row["test"][name] for row in of_peer]) for name in names]
        means = [row["test_mean"] for row in of_peer]
        cells = [
            *(f"{score:.3f}" for score in scores),
            f"{np.mean(means):.3f} ({min(means):.3f} to {max(means):.3f})",
            f"{np.mean([row['test_iou'] for row in of_peer]):.3f}",
            f"{np.mean([row['cpu_s'] for row in of_peer]):.0f}",
            f"{np.mean([row['iterations'] for row in of_peer]):,.0f}",
            f"{of_peer[0]['parameters'] / 1e6:.1f} M",
            f"{max(row['peak_gib'] for row in of_peer):.1f}",
        ]
        print(f"| {peer} | {' | '.join(cells)} |")


def main() -> None:
    """Train and print, or print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, help="print the table of this file, and do no more")
    parser.add_argument("--root", type=Path, help="folder of vnc")
    parser.add_argument("--work", type=Path, help="folder that takes all files")
    for name in ("nnunet", "smp", "biapy"):
        parser.add_argument(f"--{name}-python", help=f"Python that has {name}; none: left out")
    parser.add_argument("--seconds", type=float, default=240, help="of CPU time (default: 240)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default: 1)")
    parser.add_argument("--only", nargs="+", help="names of the peers that are trained")
    parser.add_argument(
        "--batches", type=int, default=70, help="of an epoch of fibseg (default: 70)"
    )
    parser.add_argument(
        "--batches-32", type=int, default=40, help="the same in 32 bits (default: 40)"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/peers.json"))
    options = parser.parse_args()
    if options.table is None:
        if options.root is None or options.work is None:
            parser.error("--root and --work, or --table")
        options.work = options.work.resolve()
        options.root = options.root.resolve()
        rows = measure(options)
        before = json.loads(options.output.read_text()) if options.output.exists() else []
        names = {row["peer"] for row in rows}
        rows += [row for row in before if row["peer"] not in names]
        # The others first, then fibseg.
        rows.sort(key=lambda row: row["peer"].startswith("fibseg"))
        write_whole(options.output, json.dumps(rows, indent=1) + "\n")
        options.table = options.output
    print_table(json.loads(options.table.read_text()))


if __name__ == "__main__":
    main()
