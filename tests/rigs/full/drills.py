"""What the drills share: a desk whose ``cloudtune`` has shorter bounds, waiting for a moment of a run, and the books at its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from orchestrator.ledger.database import FILE_NAME, Database
from orchestrator.ledger.journal import Ledger
from orchestrator.run.state import RunState
from tests.rigs.desk import RentingDesk
from tests.rigs.vast.rig import VastRig
from trainer.contract import verify_manifest

ROOT = Path(__file__).resolve().parents[3]
BOUND_S = 150.0
# bounds under which a drill lasts a minute, not an hour
SHORT = {
    "launch_grace_s": 30.0,
    "missing_grace_s": 6.0,
    "checkpoint_pull_s": 3.0,
    "round_s": 2.0,
    "poll_s": 2.0,
    "look_s": 6.0,
    "retry_s": 1.0,
    "retry_cap_s": 5.0,
    "unreachable_s": 60.0,
}


class Desk(RentingDesk):
    """A user of the Vast rig. ``bounds``: of ``quick.py``; the run keeps them, so only what plans it needs them."""

    bounds: dict[str, float] = SHORT
    rig: VastRig

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tests.rigs.full.quick", json.dumps(self.bounds), *arguments]

    @property
    def env(self) -> dict[str, str]:
        return super().env | {"PYTHONPATH": str(ROOT)}

    def another_job(self, folder: Path, model: Path | str) -> Desk:
        """The same user with a second job folder."""
        other = Desk(self.rig, folder, model)
        other.home, other.state = self.home, self.state
        return other

    def run(self, *flags: str, budget: float = 5.0) -> subprocess.Popen[Any]:
        """``cloudtune run``, left running."""
        return self.start("run", "--budget", str(budget), "--infra", "vast", "-o", "json", *flags)

    # --- its ledger -------------------------------------------------------------------------------------------------

    def states(self) -> list[RunState]:
        """Of its runs, the newest first."""
        if not (self.state / FILE_NAME).exists():
            return []
        ledger = Ledger(Database(self.state / FILE_NAME))
        return [ledger.state(record.run) for record in ledger.runs()]

    def now(self) -> RunState:
        """Of its newest run; an empty one while there is none."""
        return next(iter(self.states()), RunState())

    def until(self, process: subprocess.Popen[Any] | None, condition: Callable[[], Any], bound_s: float = BOUND_S) -> None:
        """Wait for a moment in a run that ``process`` drives. Fails when it ends before, or takes too long."""
        deadline = time.monotonic() + bound_s
        while not condition():
            assert time.monotonic() < deadline, (
                f"it did not come in {bound_s:.0f} s; said so far:\n{self.output()}\n{self.rig.log()[-1500:]}"
            )
            assert process is None or process.poll() is None, f"it ended with {process.returncode}:\n{self.output()}"
            time.sleep(0.1)

    def ended(self, process: subprocess.Popen[Any], code: int, bound_s: float = BOUND_S) -> None:
        """Wait for the end of a started command, which has to exit with ``code``."""
        try:
            process.wait(bound_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {bound_s:.0f} s:\n{self.output()}\n{self.rig.log()[-1500:]}") from None
        assert process.returncode == code, f"exit code {process.returncode}, not {code}:\n{self.output()}"

    # --- its processes ----------------------------------------------------------------------------------------------

    def kill(self, process: subprocess.Popen[Any]) -> None:
        """kill -9 of the controller alone."""
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def sky_processes(self, *, reapers: bool = False) -> dict[int, str]:
        """Processes whose home is cloudtune's SkyPilot home. ``reapers``: with those that end themselves after 30 s."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and f"HOME={self.state / 'skypilot'}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    said = (entry / "cmdline").read_text().replace("\0", " ")
                    if said and (reapers or "subprocess_daemon" not in said):
                        found[int(entry.name)] = said[:160]
            except OSError:
                continue
        return found

    def lose_power(self, process: subprocess.Popen[Any]) -> None:
        """kill -9 of the controller and of everything of SkyPilot's, by their ids."""
        self.kill(process)
        quiet = 0
        for _ in range(50):
            left = self.sky_processes(reapers=True)
            quiet = 0 if left else quiet + 1
            if quiet == 3:
                return  # nor was anything just being started
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.2)
        raise AssertionError(f"not to be killed: {left}")


@contextmanager
def slowed(rig: VastRig, module: str, share: float) -> Iterator[None]:
    """While the block lasts, every ``python -m MODULE …`` in the rig's instances stands still for this share of the time."""
    over = threading.Event()

    def running() -> list[psutil.Process]:
        assert rig.cloud.process is not None  # every process of an instance descends from the emulator's
        return [one for one in psutil.Process(rig.cloud.process.pid).children(recursive=True) if f" -m {module}" in said(one)]

    def said(one: psutil.Process) -> str:
        with suppress(psutil.Error):
            return " ".join(one.cmdline())
        return ""

    def slow() -> None:
        while not over.is_set():
            found = running()
            for one in found:
                with suppress(psutil.Error):
                    one.suspend()
            over.wait(share * 0.4)
            for one in found:
                with suppress(psutil.Error):
                    one.resume()
            over.wait((1.0 - share) * 0.4)

    worker = threading.Thread(target=slow)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def alive(rig: VastRig) -> list[dict[str, Any]]:
    """What exists, by the cloud's own books."""
    return [row for row in rig.truth() if row["ended_at"] is None]


def never_two_at_once(rig: VastRig) -> None:
    """No instance was made before the one before it was gone."""
    rows = sorted(rig.truth(), key=lambda row: float(row["created_at"]))
    for earlier, later in pairwise(rows):
        assert earlier["ended_at"] is not None and earlier["ended_at"] <= later["created_at"], (earlier, later)


def settled(desk: Desk, record: Callable[[str, object], None], *, cap_usd: float = 5.0, adapter: bool = True) -> dict[str, Any]:
    """Nothing is left by the cloud's own books, the money is in order, the adapter is whole where it should be. The last receipt."""
    assert alive(desk.rig) == []
    states = desk.states()
    receipt_usd = sum(state.spent_usd for state in states)
    record("bill", f"{desk.rig.bill_usd():.6f}")
    record("receipt", f"{receipt_usd:.6f}")
    record("end", " ".join([a.doomed.value if a.doomed else "?" for state in reversed(states) for a in state.attempts]))
    assert desk.rig.bill_usd() <= receipt_usd, "the receipt is below the bill"
    assert all(state.spent_usd <= cap_usd for state in states), "the cap is broken"
    assert len(states) > 1 or receipt_usd <= cap_usd
    assert all(state.outcome is not None for state in states), "a run is not settled"
    if adapter:
        assert "adapter_model.safetensors" in verify_manifest(desk.job / "out/adapter")
    else:
        assert not (desk.job / "out/adapter").exists()
    assert_no_server(desk)
    path = desk.state / "runs" / states[0].run / "receipt.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert document["teardown"]["instances_left"] == 0
    return document


def assert_no_server(desk: Desk) -> None:
    """SkyPilot's server ends with its last user."""
    deadline = time.monotonic() + 15.0
    while (left := desk.sky_processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == {}, left
