"""A person at the terminal: Ctrl-C, stop, down, sweep, cost, two runs at once, a budget that ends in mid-training."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.full.drills import SHORT, Desk, alive, assert_no_server, never_two_at_once, settled, slowed
from tests.rigs.test_vast_rig import pytestmark  # noqa: F401 - the marks are this module's too
from tests.rigs.vast.rig import VastRig

Record = Callable[[str, object], None]


def test_ctrl_c_saves_and_the_same_command_goes_on(rig: VastRig, desk: Desk, record_property: Record) -> None:
    process = desk.run()
    desk.until(process, lambda: desk.now().attempts and desk.now().attempts[0].step >= 10)
    process.send_signal(signal.SIGINT)
    desk.ended(process, 130, 90.0)
    first = desk.now()
    assert alive(rig) == [] and first.checkpoint_step >= 5
    assert_no_server(desk)
    said = desk.cloudtune("run", "--budget", "5", "--infra", "vast", "-o", "json")
    assert said.returncode == 0, said.stderr
    assert desk.now().attempts[0].from_step == first.checkpoint_step
    settled(desk, record_property)
    never_two_at_once(rig)


def test_ctrl_c_while_a_machine_is_got(rig: VastRig, short: Desk, record_property: Record) -> None:
    process = short.run()
    short.until(process, lambda: rig.truth())
    process.send_signal(signal.SIGINT)
    short.ended(process, 130, 90.0)
    settled(short, record_property, adapter=False)


@pytest.mark.parametrize(("word", "code"), [("stop", 4), ("down", 4)])
def test_another_terminal(rig: VastRig, desk: Desk, word: str, code: int, record_property: Record) -> None:
    process = desk.run()
    desk.until(process, lambda: desk.now().checkpoint_step >= 5)
    cost = json.loads(desk.cloudtune("cost", "-o", "json").stdout)
    assert cost["charging"] is True and cost["usd_per_hour"] >= alive(rig)[0]["dph_total"] - 1e-6, cost
    swept = desk.cloudtune("sweep", "-o", "json")
    assert swept.returncode == 0 and json.loads(swept.stdout)["destroyed"] == [] and len(alive(rig)) == 1
    run = desk.now().run
    other = desk.cloudtune(word, run)
    desk.ended(process, code, 60.0)
    assert other.returncode in (0, code), other.stderr
    settled(desk, record_property, adapter=bool(desk.now().adapter))
    assert json.loads(desk.cloudtune("cost", "-o", "json").stdout)["charging"] is False


@pytest.mark.parametrize("word", ["stop", "down", "sweep"])
def test_another_terminal_after_a_kill(rig: VastRig, desk: Desk, word: str, record_property: Record) -> None:
    process = desk.run()
    desk.until(process, lambda: desk.now().attempts and desk.now().attempts[0].step >= 5)
    desk.lose_power(process)
    run = desk.now().run
    assert json.loads(desk.cloudtune("cost", "-o", "json").stdout)["charging"] is True
    swept = desk.cloudtune("sweep", "-o", "json")
    assert swept.returncode == 0 and json.loads(swept.stdout)["destroyed"] == [] and len(alive(rig)) == 1, "a run may go on with it"
    if word == "sweep":
        for path in desk.state.glob("ledger.sqlite*"):
            path.unlink()  # nobody remembers the run any more
        swept = desk.cloudtune("sweep", "--all", "--yes", "-o", "json")
        assert swept.returncode == 0 and len(json.loads(swept.stdout)["destroyed"]) == 1, swept.stderr
        assert alive(rig) == []
        assert_no_server(desk)
        return
    other = desk.cloudtune(word, run)
    assert other.returncode in (0, 4), other.stderr
    settled(desk, record_property, adapter=bool(desk.now().adapter))


def test_two_runs_share_one_server(rig: VastRig, tmp_path: Path, tiny_model: Path, record_property: Record) -> None:
    long = Desk(rig, tmp_path / "long", tiny_model, epochs=900, save_steps=200)
    brief = long.another_job(tmp_path / "brief", tiny_model)
    first = long.run()
    long.until(first, lambda: rig.truth())
    second = brief.run()
    brief.ended(second, 0)
    assert first.poll() is None, "the long one goes on: " + long.output()
    assert long.sky_processes(), "its server is still there"
    long.ended(first, 0)
    settled(long, record_property, cap_usd=5.0)
    assert len(rig.truth()) == 2


def test_two_runs_begin_at_once(rig: VastRig, tmp_path: Path, tiny_model: Path, record_property: Record) -> None:
    one = Desk(rig, tmp_path / "one", tiny_model)
    other = one.another_job(tmp_path / "other", tiny_model)
    processes: list[Any] = [one.run(), other.run()]
    one.ended(processes[0], 0)
    other.ended(processes[1], 0)
    settled(one, record_property)
    assert len(rig.truth()) == 2


CLOSING = {"save_reserve_s": 10.0, "pull_reserve_s": 10.0, "teardown_reserve_s": 10.0, "useful_s": 10.0, "timer_granularity_s": 15.0}


@pytest.mark.timeout(720)
def test_the_cap_is_hit_in_mid_training(rig: VastRig, tmp_path: Path, tiny_model: Path, record_property: Record) -> None:
    """The plan expected to finish; the machine is fifty times slower. Seven minutes, because a plan allows for a slow start."""
    rig.offers = [replace(offer, dph_base=36.0, min_bid=36.0) for offer in rig.offers]  # a cent a second
    desk = Desk(rig, tmp_path, tiny_model, epochs=100, save_steps=5)
    desk.bounds = SHORT | CLOSING | {"unread_rate_factor": 1.0, "start_s": 20.0}
    with slowed(rig, "trainer", share=0.98):
        process = desk.run(budget=4.4)
        desk.ended(process, 4, 600.0)
    document = settled(desk, record_property, cap_usd=4.4, adapter=bool(desk.now().adapter))
    assert document["reason"] == "budget" and 0 < desk.now().checkpoint_step < 500


def test_a_budget_that_is_too_small_rents_nothing(rig: VastRig, short: Desk, record_property: Record) -> None:
    said = short.cloudtune("run", "--budget", "0.01", "--infra", "vast", "-o", "json")
    assert said.returncode in (3, 5), said.stdout + said.stderr
    assert rig.truth() == []
    record_property("end", f"exit {said.returncode}")
