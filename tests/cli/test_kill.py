"""kill -9 at many moments: the same command finishes the run, with the same adapter, nothing done twice or left behind."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Desk

# a controller is killed right after the journal has grown by so many events; ten moments of one run
GROWTH = (1, 2, 1, 2, 2, 3, 2, 4, 5, 6)
# the trainer is killed as soon as the journal knows of these steps; ten moments of one run, the first while it starts
MOMENTS = (0, 1, 5, 20, 40, 60, 80, 110, 140, 170)


def test_controller_killed_at_ten_moments(long_desk: Desk, uninterrupted: bytes) -> None:
    desk, kills = long_desk, 0
    for growth in GROWTH:
        before = len(desk.events())
        process = desk.start("run", "--infra", "local", "-y")
        desk.wait_for(lambda target=before + growth, process=process: len(desk.events()) >= target or process.poll() is not None)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
    receipt = desk.receipt()
    assert kills >= 8, "the run ended before it could be disturbed"
    assert receipt["outcome"] == "succeeded" and receipt["teardown"]["instances_left"] == 0
    assert desk.adapter() == uninterrupted
    bodies = [json.loads(body) for body in desk.events()]
    assert sum(b["kind"] == "planned" for b in bodies) == 1, "one run, not several"
    # a kill between an intent and its act leaves an attempt that never had a box; a second box there must never be
    assert len({b["attempt"] for b in bodies if b["kind"] == "seen" and b["instances"]}) == 1
    assert sum(b["kind"] == "pulled" for b in bodies) == 1
    assert not desk.box_processes()


@pytest.mark.timeout(600)
def test_trainer_killed_at_ten_moments(long_desk: Desk, uninterrupted: bytes) -> None:
    """Supervisor and worker die together, each time at another step."""
    desk = long_desk
    process = desk.start("run", "--infra", "local", "-y", "-o", "json", "--quiet")
    killed = 0
    for step in MOMENTS:
        desk.wait_for(lambda step=step: process.poll() is not None or (desk.step() >= step and bool(desk.box_processes())))
        for victim in desk.box_processes():
            victim.kill()
            killed += 1
    out, err = process.communicate(timeout=280)
    assert killed >= 10, err
    receipt = json.loads(out)
    assert (process.returncode, receipt["outcome"]) == (0, "succeeded"), err
    assert desk.adapter() == uninterrupted


def test_a_finished_run_whose_receipt_was_not_seen_is_not_trained_again(desk: Desk) -> None:
    process = desk.start("run", "--infra", "local", "-y", "-o", "json")
    desk.wait_for(lambda: any('"do":"settle"' in body for body in desk.events()) or process.poll() is not None)
    process.kill()
    out, _ = process.communicate()
    receipt = desk.receipt()
    assert receipt["outcome"] == "succeeded"
    runs = sum('"kind":"planned"' in body for body in desk.events())
    assert runs == 1 or out.strip(), "only a run whose receipt was printed may be followed by another"
