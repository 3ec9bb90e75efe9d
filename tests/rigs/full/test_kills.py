"""kill -9 of the controller, of SkyPilot, of all there is: the same command goes on, or the instance ends itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from orchestrator.run.state import Phase
from tests.rigs.full.drills import SHORT, Desk, alive, never_two_at_once, settled
from tests.rigs.test_vast_rig import pytestmark  # noqa: F401 - the marks are this module's too
from tests.rigs.vast.rig import VastRig

Record = Callable[[str, object], None]


def moment(rig: VastRig, desk: Desk, when: str) -> Callable[[], object]:
    """A moment in a run, by the cloud's books or by its own."""
    moments: dict[str, Callable[[], object]] = {
        "asked": lambda: desk.now().attempts and not rig.truth(),
        "create": lambda: rig.truth(),
        "upload": lambda: desk.now().phase is Phase.SYNCING and desk.now().attempts[0].armed,
        "training": lambda: desk.now().attempts and desk.now().attempts[0].step > 0,
        "pull": lambda: desk.now().result is not None,
    }
    return moments[when]


@pytest.mark.parametrize("when", ["asked", "create", "upload", "pull"])
@pytest.mark.parametrize("also", ["", "and its SkyPilot deleted"])
def test_controller_killed(rig: VastRig, short: Desk, when: str, also: str, record_property: Record) -> None:
    process = short.run()
    short.until(process, moment(rig, short, when))
    short.kill(process)
    if also:
        shutil.rmtree(short.state / "skypilot", ignore_errors=True)  # while its server still runs
        shutil.rmtree(short.state / "skypilot", ignore_errors=True)
        rig.image.seed_wheel(short.state / "skypilot")
    said = short.cloudtune("run", "--budget", "5", "--infra", "vast", "-o", "json")
    assert said.returncode == 0, said.stderr
    settled(short, record_property)
    never_two_at_once(rig)
    if not also:
        assert len(rig.truth()) == 1, "the same instance"


def test_training_killed_and_its_skypilot_deleted(rig: VastRig, desk: Desk, record_property: Record) -> None:
    process = desk.run()
    desk.until(process, moment(rig, desk, "training"))
    desk.lose_power(process)
    shutil.rmtree(desk.state / "skypilot")
    rig.image.seed_wheel(desk.state / "skypilot")
    said = desk.cloudtune("run", "--budget", "5", "--infra", "vast", "-o", "json")
    assert said.returncode == 0, said.stderr
    settled(desk, record_property)
    never_two_at_once(rig)


@pytest.mark.parametrize("denied", [False, True])
def test_the_laptop_never_comes_back(rig: VastRig, short: Desk, denied: bool, record_property: Record) -> None:
    """Killed before the first timer is prolonged; that the prolonged one fires is tried in ``test_life_on_vast.py``."""
    short.bounds = SHORT | {"fuse_s": 20.0}
    rig.misbehave(deny_instance_key=denied)
    process = short.run()
    short.until(process, moment(rig, short, "create"))
    short.lose_power(process)
    if denied:
        short.until(None, lambda: all(row["status"] == "exited" for row in alive(rig)), 60.0)
        [left] = alive(rig)
        assert left["gpu_billed_s"] < 45.0, "its GPU is no longer billed"
        record_property("note", f"it stopped itself after {left['gpu_billed_s']:.0f} s")
    else:
        short.until(None, lambda: alive(rig) == [], 60.0)
        [gone] = rig.truth()
        assert gone["ended_by"] == "instance"
        record_property("note", f"it ended itself after {gone['gpu_billed_s']:.0f} s")
    assert short.cloudtune("attach", short.now().run).returncode == 0
    settled(short, record_property)
