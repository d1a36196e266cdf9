"""`fibseg export` of a finished run, and predictions by what it wrote."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from pathlib import Path

import bioimageio.core
import bioimageio.spec
import numpy as np
import pytest
import tifffile
import torch
import yaml

from fibseg.errors import FibsegError
from fibseg.models.foreign.opening import open_model
from fibseg.models.trained import load_model
from fibseg.prediction.slices import model_channels
from fibseg.stack import open_stack
from tests.support import Commands
from tests.support.models import content_of, save_content
from tests.support.packages import no_network

pytestmark = pytest.mark.slow(seconds=12)


@pytest.fixture(scope="module")
def package(finished: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run, with its filter channels, as a package."""
    path = tmp_path_factory.mktemp("export") / "run.zip"
    line = ["export", finished.run_directory(), "--to", "bioimageio", "--output", path]
    with pytest.MonkeyPatch.context() as patch:
        no_network(patch)
        result = finished.run("fibseg", *line, "--author", "A. B.", "--license", "CC-BY-4.0")
    assert result.returncode == 0, result.stderr
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"run.zip: {path.stat().st_size / 1e6:.3g} MB, SHA-256 {digest}" in result.stdout
    return path


@pytest.fixture
def unpacked(package: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked"


def zipped(folder: Path, path: Path) -> Path:
    """A changed package."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path


def test_its_own_library_tests_and_runs_the_package(
    package: Path, unpacked: Path, finished: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    with zipfile.ZipFile(package) as archive:
        context = bioimageio.spec.ValidationContext(
            root=archive,
            file_name="bioimageio.yaml",
            # The only step that is left out asks the web for the DOIs of the citations. It also
            # leaves out the SHA-256 of the files, which are compared below.
            perform_io_checks=False,
        )
        content = yaml.safe_load(archive.read("bioimageio.yaml"))
        model = bioimageio.spec.build_description(content, context=context)
        assert isinstance(model, bioimageio.spec.model.v0_5.ModelDescr)
        summary = bioimageio.core.test_model(model, weight_format="onnx", devices=["cpu"])
        assert summary.status == "passed", summary.format()
        # Slices as a prediction makes channels of them, of a size that is no multiple of 16.
        trained = load_model(finished.run_directory() / "checkpoints" / "model.safetensors")
        image = np.asarray(open_stack(finished.data / "image.tif").read(7))
        image = np.pad(image, ((90, 87), (80, 85)), mode="symmetric")
        pictures = np.clip(
            np.rint(
                (image.astype(np.float32) - trained.grey_range.low)
                * (255 / (trained.grey_range.high - trained.grey_range.low))
            ),
            0,
            255,
        ).astype(np.uint8)
        (channels,) = model_channels(trained, [pictures], None, 1)
        assert channels.shape == (3, 273, 261)
        given = channels[None].astype(np.float32)
        with bioimageio.core.create_prediction_pipeline(model) as pipeline:
            sample = bioimageio.core.digest_spec.create_sample_for_model(
                model, inputs={"channels": given}
            )
            # Else the slice would be mirrored by the halo at its border.
            sample = pipeline.predict_sample_without_blocking(
                sample, skip_input_padding=True, skip_output_cropping=True
            )
    computed = sample.members["probabilities"].to_numpy()
    with torch.inference_mode():
        logits = trained.network(torch.from_numpy(given) * (1 / 255))
    assert trained.decision is None or trained.decision.is_plain
    expected = logits.softmax(dim=1).numpy()
    assert np.abs(computed - expected).max() < 1e-4
    assert (computed.argmax(1) == expected.argmax(1)).all()
    for entry in (*content["covers"], *content["attachments"], content["documentation"]):
        file = unpacked / entry["source"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == entry["sha256"]
    assert content["license"] == "CC-BY-4.0" and content["authors"] == [{"name": "A. B."}]
    readme = (unpacked / "README.md").read_text()
    assert "Channels: image, grain 20, grain 200." in readme and "| mitochondrion | " in readme


def test_predictions_by_the_exported_files_are_those_of_the_run(
    package: Path, unpacked: Path, finished: Commands, tmp_path: Path
) -> None:
    shutil.copy(unpacked / "model.onnx", tmp_path / "model.onnx")
    line = [f"image={finished.data / 'image.tif'}", "processes=1", "threads=1", "device=cpu"]
    stacks = []
    checkpoints = (finished.run_directory(), tmp_path / "model.onnx", package)
    for number, checkpoint in enumerate(checkpoints):
        output = tmp_path / f"{number}.tif"
        words = [f"checkpoint={checkpoint}", f"output={output}", f"probabilities={output}"]
        result = finished.run("predict.py", *line, *words, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        layers = [tifffile.imread(path) for path in sorted(tmp_path.glob(f"{number}-*.tif"))]
        stacks.append((tifffile.imread(output), np.stack(layers).astype(int)))
    labels, layers = stacks[0]
    assert len(np.unique(labels)) > 1
    for other_labels, other_layers in stacks[1:]:
        assert (other_labels == labels).all()
        # Rounded to 255ths.
        assert np.abs(other_layers - layers).max() <= 1


def test_a_package_whose_parts_were_changed_is_refused(unpacked: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.zip"
    output = unpacked / "test_output.npy"
    whole = output.read_bytes()
    np.save(output, np.load(output)[:, ::-1])
    with pytest.raises(FibsegError, match=r"test_output\.npy does not fit its SHA-256"):
        open_model(zipped(unpacked, path))
    # With the SHA-256 of the changed file, the numbers differ.
    description = (unpacked / "bioimageio.yaml").read_text()
    digests = [hashlib.sha256(content).hexdigest() for content in (whole, output.read_bytes())]
    (unpacked / "bioimageio.yaml").write_text(description.replace(*digests))
    with pytest.raises(FibsegError, match="differs from its test output in"):
        open_model(zipped(unpacked, path))
    output.write_bytes(whole)
    # Other weights of the same shapes, with and without their SHA-256.
    checkpoint = unpacked / "model.safetensors"
    content = content_of(checkpoint)
    old = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    content["weights"]["head.bias"][0] += 3.0
    save_content(content, checkpoint)
    (unpacked / "bioimageio.yaml").write_text(description)
    with pytest.raises(FibsegError, match=r"model\.safetensors does not fit its SHA-256"):
        open_model(zipped(unpacked, path))
    new = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    (unpacked / "bioimageio.yaml").write_text(description.replace(old, new))
    with pytest.raises(FibsegError, match="differs from its test output in"):
        open_model(zipped(unpacked, path))
    (unpacked / "bioimageio.yaml").write_text(description.replace(old, ""))
    with pytest.raises(FibsegError, match=r"sha256|SHA-256"):
        open_model(zipped(unpacked, path))


class _Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


def test_nothing_of_a_package_is_unpickled(
    unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(os, "system", called.append)
    description = (unpacked / "bioimageio.yaml").read_text()
    for name, message in (
        ("model.safetensors", "no model of fibseg"),
        ("test_input.npy", "no array"),
    ):
        file = unpacked / name
        whole = file.read_bytes()
        buffer = io.BytesIO()
        if name.endswith(".npy"):
            np.save(buffer, np.array([_Hostile()], object), allow_pickle=True)
        else:
            torch.save({"weights": _Hostile()}, buffer)
        file.write_bytes(buffer.getvalue())
        digests = [hashlib.sha256(data).hexdigest() for data in (whole, file.read_bytes())]
        (unpacked / "bioimageio.yaml").write_text(description.replace(*digests))
        with pytest.raises(FibsegError, match=message):
            open_model(zipped(unpacked, tmp_path / "hostile.zip"))
        file.write_bytes(whole)
    assert called == []


def test_mistakes(finished: Commands, tmp_path: Path) -> None:
    run = finished.run_directory()

    def refused(message: str, *words: str | Path) -> None:
        finished.refused(finished.run("fibseg", "export", *words, cwd=tmp_path), message)

    refused(
        "--to: tensorflow is impossible; expected bioimageio, onnx or torch",
        run,
        "--to",
        "tensorflow",
    )
    refused("expected a name that ends in .onnx", run, "--to", "onnx", "--output", "model.zip")
    (tmp_path / f"{run.name}.onnx").touch()
    refused("exists already; give another name, or --overwrite", run, "--to", "onnx")
    refused("only a package of bioimageio holds them", run, "--to", "torch", "--license", "MIT")
    refused("nothing: no", "nothing", "--to", "torch")
    ilastik = tmp_path / "ilastik-off-s0"
    ilastik.mkdir()
    (ilastik / "ilastik.log").touch()
    refused("a run of Ilastik keeps no model", ilastik, "--to", "onnx")
    licence = ["--license", "my own", "--output", "package.zip"]
    refused("--license: my own is not on the list of SPDX", run, "--to", "bioimageio", *licence)
    assert not (tmp_path / "package.zip").exists()


def test_a_program_of_torch_is_written(finished: Commands, tmp_path: Path) -> None:
    run = finished.run_directory()
    result = finished.run("fibseg", "export", run, "--to", "torch", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    program = torch.export.load(tmp_path / f"{run.name}.pt2").module()
    model = load_model(run / "checkpoints" / "model.safetensors")
    levels = torch.randint(0, 256, (1, 3, 50, 61)).float()
    with torch.inference_mode():
        expected = model.network(levels / 255).softmax(dim=1)
        assert (program(levels) - expected).abs().max() < 1e-5
