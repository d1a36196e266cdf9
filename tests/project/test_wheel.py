"""The wheel in its own environment, with no clone beside it: the whole job by its commands."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from fibseg.phantom import make_phantom
from fibseg.stack import write_stack
from tests.support import PROJECT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a release, which `make release` names, or one that is built here."""
    if "FIBSEG_WHEEL" in os.environ:
        return Path(os.environ["FIBSEG_WHEEL"])
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "wheel", *options, str(PROJECT)], check=True)
    (built,) = folder.glob("fibseg-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds the wheel, and sees the dependencies of this one.

    Paths in a .pth file are added as they are: the editable install of this environment, which is
    a .pth file itself, does not come along.
    """
    folder = tmp_path_factory.mktemp("environment")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    # By its own interpreter, which its commands then name in their first line.
    python = str(folder / "env" / "bin" / "python")
    install = [*pip, "--python", python, "install", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, env=variables())
    packages = next((folder / "env" / "lib").glob("python*/site-packages"))
    dependencies = sysconfig.get_path("purelib")
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    return folder / "env"


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Configurations and what pages show, too; no test, and nothing of a clone."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(PROJECT / "src"))
        for pattern in ("**/*.py", "fibseg/pages/assets/*", "fibseg/viewer/napari.yaml")
        for path in (PROJECT / "src").glob(pattern)
    }
    conf = (PROJECT / "conf").rglob("*.yaml")
    expected |= {f"fibseg/{path.relative_to(PROJECT)}" for path in conf}
    assert names == expected


def variables() -> dict[str, str]:
    """Those of this process, but for the one that may lead to the clone."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def fibseg(environment: Path, folder: Path, *arguments: str) -> str:
    """Output of an installed command in a folder; the command must succeed."""
    result = subprocess.run(
        [environment / "bin" / "fibseg", *arguments],
        cwd=folder,
        env=variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_whole_job_without_a_clone(environment: Path, tmp_path: Path) -> None:
    pixels, labels = make_phantom((6, 64, 64), seed=1)
    write_stack(tmp_path / "cell.tif", pixels, [20, 5, 5])
    write_stack(tmp_path / "labels.tif", labels, [20, 5, 5])
    fibseg(environment, tmp_path, "new", "mycell", "cell.tif", "labels.tif")
    assert (tmp_path / "conf" / "data" / "mycell.yaml").is_file()
    assert "mycell" in fibseg(environment, tmp_path, "check", "mycell")

    short = ["training.epochs=1", "training.batches=4", "training.validation_batches=2"]
    tiny = [*short, "model.width=2", "patches.size=32", "machine.threads=1", "machine.device=cpu"]
    recipe = ["data=mycell", "experiment=quick", "filter=on"]
    trained = fibseg(environment, tmp_path, "train", *recipe, *tiny, "machine.processes=1")
    assert "scores.json" in trained
    (run,) = tmp_path.glob("runs/mycell/unet-on-*")

    files = ["image=cell.tif", "output=all.tif"]
    predicted = fibseg(environment, tmp_path, "predict", f"checkpoint={run}", *files, "threads=1")
    assert "all.tif: labels of 6 slices" in predicted
    assert "unet-on-quick" in fibseg(environment, tmp_path, "compare", "runs/mycell")
    assert (tmp_path / "comparison" / "index.html").is_file()


def test_python_finds_the_wheel_and_not_the_clone(environment: Path, tmp_path: Path) -> None:
    assert (environment / "bin" / "fibseg").read_text().startswith(f"#!{environment}/bin/python")
    script = """
import fibseg, importlib.metadata
print(fibseg.__file__, fibseg.grain_filter.__name__)
print(fibseg.__version__, importlib.metadata.version("fibseg"))
"""
    result = subprocess.run(
        [environment / "bin" / "python", "-c", script],
        cwd=tmp_path,
        env=variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    path, name, version, stated = result.stdout.split()
    assert version == stated
    assert Path(path).is_relative_to(environment)
    assert name == "grain_filter"
