"""A sweep whose driver is killed, and which two drivers then finish together."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.support.sweeps import SWEEP, Sweeps, assert_same_run, wait_until_ended

pytestmark = pytest.mark.slow


def test_a_killed_driver_and_two_that_share_its_runs(sweeps: Sweeps, undisturbed: Sweeps) -> None:
    for seed in (5, 6):
        sweeps.disturb(seed, ("hold", 4))
    driver = sweeps.start(*SWEEP)
    workers = [sweeps.wait_until_held(seed) for seed in (5, 6)]
    driver.kill()
    driver.communicate()
    wait_until_ended(workers)
    drivers = [sweeps.start(*SWEEP) for _ in range(2)]
    for driver in drivers:
        _, errors = driver.communicate(timeout=300)
        assert (driver.returncode, errors) == (0, "")
    for seed in (5, 6):
        assert_same_run(sweeps.directory(seed), undisturbed.directory(seed))
        log = (sweeps.directory(seed) / "log.txt").read_text()
        for epoch in (1, 6):
            assert len(re.findall(rf"^epoch {epoch}/", log, re.M)) == 1
    # The lines of both drivers: each run was resumed by one of them, and skipped by the other one.
    ends = re.findall(r"^\[\d/2\] (finished|skipped|resumed) ", sweeps.printed, re.M)
    assert Counter(ends) == {"resumed": 2, "skipped": 2}
