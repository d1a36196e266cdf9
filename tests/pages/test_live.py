"""The live page: states of runs from their files, and a server that only reads a folder."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fibseg.pages.curves import POINTS_OF_CURVE
from fibseg.pages.live.server import LiveServer, serving
from fibseg.pages.live.states import Watcher, locked_inodes, page_content, run_folders
from fibseg.runs.directory import RunDirectory
from tests.support.page_runs import make_page_runs
from tests.support.runs import make_run, write_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def make_unfinished(folder: Path, name: str, seed: int, changed: float | None = None) -> Path:
    """A run without scores, whose files were written at `changed`, a day ago by default."""
    path = make_run(folder, name, seed, [0.5], [0.5])
    write_config(path, [20.0, 5.0, 5.0])
    (path / "scores.json").unlink()
    (path / "metrics.csv").write_text("epoch,val_loss,val_f1\n0,1.0,0.5\n1,0.9,0.6\n")
    when = time.time() - 86400 if changed is None else changed
    for file in path.iterdir():
        os.utime(file, (when, when))
    return path


def states(folder: Path) -> dict[str, tuple[str, str]]:
    return {run.path.name[:-9]: (run.state, run.reason) for run in Watcher(folder).look()}


def test_states_come_from_files(folder: Path) -> None:
    make_run(folder, "unet-off", 0, [0.5], [0.5])
    failed = make_unfinished(folder, "unet-off", 1)
    (failed / "error.txt").write_text("Traceback:\nValueError: no more slices\n\n")
    diverged = make_unfinished(folder, "unet-off", 2)
    (diverged / "metrics.csv").write_text("epoch,val_loss,val_f1\n0,nan,0.5\n")
    make_unfinished(folder, "unet-off", 3)
    make_unfinished(folder, "unet-off", 4, changed=time.time() - 60)
    result = states(folder)
    assert result["unet-off-s0"] == ("finished", "")
    assert result["unet-off-s1"] == ("failed", "ValueError: no more slices")
    assert result["unet-off-s2"] == ("diverged", "its loss became infinite or no number")
    assert result["unet-off-s3"] == ("stopped", "no sign of life for 1440 min")
    assert result["unet-off-s4"] == ("running", "")
    # What needs a person comes first.
    order = [run.path.name[:-9] for run in Watcher(folder).look()]
    assert order == [f"unet-off-s{seed}" for seed in (1, 2, 3, 4, 0)]


@pytest.mark.skipif(locked_inodes() is None, reason="this system has no table of locks")
def test_a_lock_says_that_a_run_trains(folder: Path) -> None:
    path = make_unfinished(folder, "unet-off", 0)
    # An earlier attempt may have failed.
    (path / "error.txt").write_text("killed")
    with RunDirectory(path).lock():
        assert states(folder)["unet-off-s0"] == ("running", "")
        # Looking takes no lock.
        assert not RunDirectory(path).is_free()
    assert states(folder)["unet-off-s0"] == ("failed", "killed")


def test_only_what_changed_is_read_again_and_the_pace_is_that_of_epochs(folder: Path) -> None:
    path = make_unfinished(folder, "unet-off", 0, changed=time.time() - 100)
    watcher = Watcher(folder)
    (run,) = watcher.look()
    # Nothing says how long the two epochs took: the run may have been resumed.
    assert run.epochs_done == 2 and run.seconds_left(time.time()) is None
    (path / "metrics.csv").write_text("epoch,val_loss,val_f1\n0,1.0,0.5\n1,0.9,0.6\n2,0.8,0.7\n")
    os.utime(path / "metrics.csv", (time.time() - 40, time.time() - 40))
    (again,) = watcher.look()
    assert again is run and run.epochs_done == 3
    assert run.pace == pytest.approx(60, abs=1)
    run.epochs = 5
    assert run.seconds_left(time.time()) == pytest.approx(2 * 60 - 40, abs=2)
    # Half a row: the rows before it stay.
    (path / "metrics.csv").write_text("epoch,val_loss,val_f1\n0,1.0,0.5\n1,0.")
    assert watcher.look()[0].epochs_done == 3


def test_a_run_that_diverged_is_no_finished_one_though_it_has_scores(folder: Path) -> None:
    path = make_run(folder, "unet-off", 0, [0.0], [0.0])
    (path / "metrics.csv").write_text("epoch,val_loss,val_f1\n0,nan,0.0\n")
    assert states(folder)["unet-off-s0"][0] == "diverged"


def test_a_run_that_was_interrupted_has_not_failed(folder: Path) -> None:
    path = make_unfinished(folder, "unet-off", 0)
    (path / "error.txt").write_text("Traceback\nKeyboardInterrupt\n")
    assert states(folder)["unet-off-s0"] == ("stopped", "it was interrupted")


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "epoch,val_f1\ninf,0\n", "epoch\nnan\n", "\0"])
def test_metrics_that_are_none_hide_no_other_run(content: str, folder: Path) -> None:
    odd = make_unfinished(folder, "unet-off", 0)
    make_run(folder, "unet-off", 1, [0.5], [0.5])
    (odd / "metrics.csv").write_text(content)
    runs = Watcher(folder).look()
    assert len(runs) == 2
    assert len(page_content(runs)["runs"]) == 2


def test_a_long_run_keeps_as_many_epochs_as_are_drawn(folder: Path) -> None:
    path = make_unfinished(folder, "unet-off", 0)
    rows = [f"{epoch},0.5,{epoch / 1000}" for epoch in range(1000)]
    (path / "metrics.csv").write_text("\n".join(["epoch,val_loss,val_f1", *rows, ""]))
    (run,) = Watcher(folder).look()
    assert run.epochs_done == 1000 and 100 < len(run.metrics) <= POINTS_OF_CURVE
    assert run.metrics[-1] == {"epoch": 999.0, "val_loss": 0.5, "val_f1": 0.999}


def test_runs_are_looked_for_in_two_levels(tmp_path: Path) -> None:
    assert list(run_folders(tmp_path / "missing")) == []
    near = make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    far = make_run(tmp_path / "vnc", "unet-on", 0, [0.5], [0.5])
    (tmp_path / "truth" / "d").mkdir(parents=True)
    (tmp_path / "file.txt").write_text("")
    assert list(run_folders(tmp_path)) == [near, far]


@pytest.fixture
def server(folder: Path) -> Iterator[LiveServer]:
    make_page_runs(folder, pictures=False)
    with serving(folder, port=0, interval=0.01) as live:
        yield live


def ask(server: LiveServer, path: str, method: str = "GET", **heads: str) -> tuple[int, bytes]:
    """Status and content of an answer; `path` is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    host = heads.pop("Host", f"127.0.0.1:{server.server_port}")
    connection.putrequest(method, path, skip_host=True)
    for name, value in {"Host": host, **heads}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_the_page_and_its_states(server: LiveServer, folder: Path) -> None:
    root = urlsplit(server.url).path
    status, page = ask(server, root)
    assert status == 200 and b"<h1>Runs</h1>" in page
    content: dict[str, Any] = json.loads(ask(server, f"{root}state.json")[1])
    assert {run["state"] for run in content["runs"]} == {"finished"} and len(content["runs"]) == 9
    assert content["folder"] == str(folder)
    curve = content["curves"]["charts"][0]["columns"]
    assert sorted(set(curve["run"])) == list(range(9)) and max(curve["epoch"]) == 3
    # A run that comes later is there at the next look.
    make_unfinished(folder, "eunet-on-x", 7, changed=time.time())
    time.sleep(0.02)
    content = json.loads(ask(server, f"{root}state.json")[1])
    assert content["runs"][0]["state"] == "running" and content["runs"][0]["epoch"] == 2
    assert ask(server, root, Host="localhost:9999")[0] == 200


def test_files_of_runs_are_served_and_nothing_else(server: LiveServer, tmp_path: Path) -> None:
    root = urlsplit(server.url).path
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    run = next((tmp_path / "runs").glob("*-s0-*"))
    assert (
        ask(server, f"{root}runs/{run.name}/scores.json")[1] == (run / "scores.json").read_bytes()
    )
    assert b"scores.json" in ask(server, f"{root}runs/{run.name}/")[1]
    (run / "link.txt").symlink_to(secret)
    os.mkfifo(run / "pipe")
    (run / "page.html").write_text("<script>alert(1)</script>")
    for path in (
        "runs/../secret.txt",
        "runs/%2e%2e/secret.txt",
        f"runs/{run.name}/../../../secret.txt",
        f"runs/{run.name}/link.txt",
        f"runs/{run.name}/pipe",
        "runs//" + str(secret),
        "runs/%00",
        "secret.txt",
        "comparison/../../secret.txt",
        "nothing",
    ):
        status, content = ask(server, root + path)
        assert status == 404 and b"secret" not in content
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", f"{root}runs/{run.name}/page.html")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    connection.close()


def test_others_are_refused(server: LiveServer) -> None:
    root = urlsplit(server.url).path
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"):
        assert ask(server, root, method)[0] == 405
    for host in ("example.com", f"example.com:{server.server_port}", "", "127.0.0.1.example.com"):
        assert ask(server, root, Host=host)[0] == 403
    for path in ("/", "/x/", f"/x{root}", root[:-2] + "/"):
        assert ask(server, path)[0] == 403
    assert server.server_address[0] == "127.0.0.1"


def test_an_answer_that_is_known_is_not_sent_again(folder: Path) -> None:
    make_page_runs(folder, pictures=False)
    with serving(folder, port=0, interval=3600) as server:
        address = urlsplit(server.url)
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        connection.request("GET", f"{address.path}state.json")
        answer = connection.getresponse()
        answer.read()
        head = {"If-None-Match": answer.headers["ETag"]}
        connection.request("GET", f"{address.path}state.json", headers=head)
        assert connection.getresponse().status == 304
        connection.close()


@pytest.mark.slow(seconds=5)
def test_a_comparison_that_fails_says_why(folder: Path) -> None:
    path = make_run(folder, "unet-off", 0, [0.5], [0.5])
    (path / "components.csv").unlink()
    with serving(folder, port=0, interval=0.01) as server:
        root = urlsplit(server.url).path
        for _ in range(600):
            content = json.loads(ask(server, f"{root}state.json")[1])
            if content["comparison_error"]:
                break
            time.sleep(0.1)
    assert content["comparison"] == 0
    assert content["comparison_error"].startswith("error: no finished run among these folders")


@pytest.mark.slow(seconds=8)
def test_finished_runs_are_compared(server: LiveServer, folder: Path) -> None:
    root = urlsplit(server.url).path
    for _ in range(600):
        version = json.loads(ask(server, f"{root}state.json")[1])["comparison"]
        if version:
            break
        time.sleep(0.2)
    status, page = ask(server, f"{root}comparison/index.html")
    assert status == 200 and b"Comparison of 9 runs" in page
    # Its links lead to the files of the runs.
    run = next(folder.glob("*-s0-*")).name
    assert f'href="../runs/{run}/"'.encode() in page
    assert ask(server, f"{root}runs/{run}/")[0] == 200
    made = server.file("comparison/index.html")
    assert made is not None
    server.shutdown()
    server.server_close()
    assert not made.parent.parent.exists()
