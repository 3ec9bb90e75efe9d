"""The cloud misbehaves while the real command rents through the real SkyPilot."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.rigs.full.drills import SHORT, Desk, alive, never_two_at_once, settled
from tests.rigs.test_vast_rig import pytestmark  # noqa: F401 - the marks are this module's too
from tests.rigs.vast.rig import VastRig

Record = Callable[[str, object], None]


@pytest.mark.parametrize("how", ["preempt", "vanish"])
def test_gone_in_mid_training(rig: VastRig, desk: Desk, how: str, record_property: Record) -> None:
    process = desk.run()
    desk.until(process, lambda: desk.now().checkpoint_step >= 5)
    [first] = alive(rig)
    getattr(rig, how)(first["id"])
    desk.ended(process, 0)
    document = settled(desk, record_property)
    assert [one["reason"] for one in document["attempts"]] == ["preempted", "completed"]
    assert desk.now().attempts[1].from_step >= 5, "the second instance goes on from the checkpoint at home"
    assert len(rig.truth()) == 2


@pytest.mark.parametrize("when", ["fail_after", "fail_before"])
def test_create_answers_500(rig: VastRig, short: Desk, when: str, record_property: Record) -> None:
    """After its effect, or before it."""
    rig.misbehave(**{when: {"create": 1}})
    process = short.run()
    short.ended(process, 0, 300.0)
    settled(short, record_property)
    never_two_at_once(rig)


def test_destroy_is_ignored_for_a_while(rig: VastRig, short: Desk, record_property: Record) -> None:
    rig.misbehave(destroy_ignored=True)
    process = short.run()
    short.until(process, lambda: "DELETE" in rig.log())
    time.sleep(12.0)
    assert process.poll() is None and short.now().outcome is None, short.output()
    assert "instances_left" not in short.output() and "nothing" not in short.output()
    rig.misbehave(destroy_ignored=False)
    short.ended(process, 0, 60.0)
    settled(short, record_property)


def test_destroy_is_ignored_for_good(rig: VastRig, short: Desk, record_property: Record) -> None:
    short.bounds = SHORT | {"teardown_give_up_s": 15.0}
    rig.misbehave(destroy_ignored=True)
    process = short.run()
    short.ended(process, 6)
    [left] = alive(rig)
    assert left["label"].startswith(short.now().attempts[0].name), "what may be charged is named"
    assert short.now().attempts[0].name in short.output() and "attach" in short.output()
    again = short.cloudtune("attach", short.now().run)
    assert again.returncode == 6, "said again as long as it is true"
    rig.misbehave(destroy_ignored=False)
    last = short.cloudtune("run", "--budget", "5", "--infra", "vast", "-o", "json")
    assert last.returncode == 0, last.stderr
    assert len(rig.truth()) == 1, "what was trained is not trained again"
    settled(short, record_property)


def test_never_ready_then_another_offer(rig: VastRig, short: Desk, record_property: Record) -> None:
    short.bounds = SHORT | {"provisioning_s": 20.0}
    rig.misbehave(never_ready=True)
    process = short.run()
    short.until(process, lambda: alive(rig))
    rig.misbehave(never_ready=False)
    short.ended(process, 0)
    document = settled(short, record_property)
    assert [one["reason"] for one in document["attempts"]] == ["never_ready", "completed"]
    never_two_at_once(rig)


def test_no_capacity_then_some(rig: VastRig, short: Desk, record_property: Record) -> None:
    rig.misbehave(no_capacity=True)
    process = short.run()
    short.until(process, lambda: any(attempt.doomed for attempt in short.now().attempts))
    rig.misbehave(no_capacity=False)
    short.ended(process, 0)
    document = settled(short, record_property)
    assert document["attempts"][0]["reason"] == "no_capacity" and document["attempts"][0]["billed_usd"] == 0.0
    assert len(rig.truth()) == 1


def test_no_capacity_anywhere(rig: VastRig, short: Desk, record_property: Record) -> None:
    rig.misbehave(no_capacity=True)
    process = short.run()
    short.ended(process, 3, 300.0)
    settled(short, record_property, adapter=False)
    assert rig.truth() == []


def test_listed_late(rig: VastRig, short: Desk, record_property: Record) -> None:
    rig.misbehave(late_s=20.0)
    process = short.run()
    short.ended(process, 0)
    settled(short, record_property)
    never_two_at_once(rig)


@pytest.mark.parametrize("for_good", [False, True])
def test_a_rate_above_the_plan(rig: VastRig, short: Desk, for_good: bool, record_property: Record) -> None:
    rig.misbehave(rate_factor=1.5)
    process = short.run()
    if not for_good:
        short.until(process, lambda: rig.truth())
        rig.misbehave(rate_factor=1.0)
    short.ended(process, 3 if for_good else 0, 300.0)
    document = settled(short, record_property, adapter=not for_good)
    assert document["attempts"][0]["reason"] == "rate_above_plan"
    assert all(row["gpu_billed_s"] < 40.0 for row in rig.truth() if row["dph_total"] > 0.5), "found before anything was trained"


@pytest.mark.parametrize("when", ["boot", "training", "teardown"])
def test_lists_fail_in_bursts(rig: VastRig, desk: Desk, when: str, record_property: Record) -> None:
    process = desk.run()
    moments: dict[str, Callable[[], object]] = {
        "boot": lambda: desk.now().attempts,
        "training": lambda: desk.now().checkpoint_step,
        "teardown": lambda: desk.now().adapter,
    }
    desk.until(process, moments[when])
    rig.misbehave(fail_before={"list": 6})
    desk.ended(process, 0)
    settled(desk, record_property)
    assert len(rig.truth()) == 1 or when == "boot", json.dumps(rig.truth())
    never_two_at_once(rig)
