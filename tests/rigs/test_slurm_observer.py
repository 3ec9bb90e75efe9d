"""The Slurm observer against a real Slurm: what it lists is what runs and waits, and a cluster that is down is unknown."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.run.selection import instance_name
from tests.rigs.slurm import truth
from tests.rigs.slurm.rig import SlurmRig, reason_missing

pytestmark = [pytest.mark.rig, pytest.mark.skipif(reason_missing() is not None, reason=reason_missing() or "")]

PROJECT = Path(__file__).resolve().parents[2]
NAME = instance_name("0a1b2c", "00000001", 1)
OTHER = instance_name("0a1b2c", "00000001", 2)
LOOK = """
import json, sys
import msgspec
from orchestrator.backends.observers.slurm import SlurmObserver
from orchestrator.run.ports import PortError
observer = SlurmObserver("rig", json.loads(sys.argv[1]))
try:
    print(json.dumps([msgspec.to_builtins(one) for one in observer.everything()]))
except PortError as error:
    print(json.dumps(str(error)))
"""


def _look(rig: SlurmRig) -> Any:
    """everything(), asked from inside the rig; the words of a PortError."""
    done = rig.run([sys.executable, "-c", LOOK, json.dumps(truth.PRICES_USD_PER_HOUR)], cwd=PROJECT, timeout=60, check=True)
    return json.loads(done.stdout)


def _sbatch(rig: SlurmRig, name: str) -> str:
    argv = ["sbatch", "--parsable", "-p", "a100", "--gres=gpu:A100:1", "-J", name, "-o", "/dev/null", "--wrap", "sleep 300"]
    return rig.run(argv, check=True).stdout.strip()


def test_it_lists_what_runs_and_what_waits_and_says_when_it_cannot() -> None:
    with SlurmRig(with_wheels=False) as rig:
        assert _look(rig) == []
        running, _, waiting = (_sbatch(rig, name) for name in (f"{NAME}-89abcdef", "a-job-of-somebody", f"{OTHER}-89abcdef"))
        deadline_s = time.monotonic() + 20
        while rig.truth()[0].state != "RUNNING" and time.monotonic() < deadline_s:
            time.sleep(0.2)
        time.sleep(2)
        first, second = sorted(_look(rig), key=lambda one: one["name"])
        assert (first["name"], first["id"], first["ready"], first["gpu"], first["count"]) == (NAME, running, True, "A100", 1)
        assert first["usd_per_hour"] == truth.PRICES_USD_PER_HOUR["A100"] and 1 <= first["age_s"] <= 30
        assert (second["name"], second["id"], second["ready"], second["usd_per_hour"]) == (OTHER, waiting, False, 0.0)
        rig.run(["scancel", running, waiting], check=True)
        deadline_s = time.monotonic() + 20
        while (left := _look(rig)) and time.monotonic() < deadline_s:
            time.sleep(0.3)
        assert left == []
        rig.stop_controller()
        assert "did not" in _look(rig)
