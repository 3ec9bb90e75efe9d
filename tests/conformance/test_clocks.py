"""The Clock port: never backwards within a boot, whatever is done to the wall clock."""

from __future__ import annotations

import time

import pytest

from orchestrator.backends import clock as clock_module
from orchestrator.backends.clock import SystemClock, boot_id
from orchestrator.backends.simulated.faults import KINDS, Rates
from orchestrator.backends.simulated.ports import SimulatedClock
from orchestrator.backends.simulated.world import World
from orchestrator.run.ports import Clock

DAY_S = 86400.0


@pytest.fixture(params=["system", "simulated"])
def clock(request: pytest.FixtureRequest) -> Clock:
    if request.param == "system":
        return SystemClock()
    return SimulatedClock(World(1, Rates(**dict.fromkeys(KINDS, 0.0))), "boot1", 0.0, 0.0)


def test_time_goes_forward(clock: Clock) -> None:
    before, steady_s = clock.now(), clock.steady_s()
    clock.sleep(0.05, lambda: False)
    assert clock.now() - before >= 0.0499 and clock.steady_s() - steady_s >= 0.0499


def test_both_clocks_agree_on_what_elapsed(clock: Clock) -> None:
    offset = clock.now() - clock.steady_s()
    clock.sleep(0.05, lambda: False)
    assert clock.now() - clock.steady_s() == pytest.approx(offset, abs=1e-3)


def test_a_wish_wakes_the_sleeper() -> None:
    started = time.monotonic()
    SystemClock().sleep(30.0, lambda: True)
    assert time.monotonic() - started < 5


def test_the_wall_clock_may_be_set_to_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    first = SystemClock()
    anchor = (first.boot, first.steady_s(), first.now())
    for shift_s in (-DAY_S, DAY_S):
        monkeypatch.setattr(clock_module.time, "time", lambda shift_s=shift_s, real=time.time: real() + shift_s)
        again = SystemClock(anchor)
        assert again.now() == pytest.approx(anchor[2], abs=5.0), "the same boot goes on where it was"
        monkeypatch.undo()


def test_another_boot_never_goes_back_behind_the_journal() -> None:
    ahead = time.time() + DAY_S
    assert SystemClock(("another boot", 5.0, ahead), not_before=ahead).now() >= ahead


def test_a_machine_without_a_boot_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module, "_BOOT_ID", clock_module.Path("/nowhere"))
    assert boot_id() == ""
    assert SystemClock(("", 0.0, 5.0)).now() == pytest.approx(time.time(), abs=5.0), "every start counts as another boot"
