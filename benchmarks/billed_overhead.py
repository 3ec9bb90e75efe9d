"""Billed seconds that are not training: ``cloudtune run`` against a plain ``sky launch`` of the same work, on the Vast rig.

    python -m benchmarks.billed_overhead [--json] [--runs 1]

Billed: by the emulated provider's own books, from the creation of the instance (its disk is billed from there, its GPU once
it runs) to its end. Work, in ``train``: from the moment the trainer begins to score the untrained model until the last score
of the trained one is known, by its progress lines: both scorings, training, checkpoints, the adapter written to disk. All
else is overhead: importing torch and loading the model (``start``) as much as waiting for somebody to notice (``pull``).

SkyPilot's side: its real command line in a home of its own, its own poll interval of 10 s and all it installs; a plugin
repairs its query to Vast, without which it rents another GPU. ``sky launch`` with a workdir, a setup by uv and the trainer
as the run, rsync of the adapter by the cluster's ssh config, ``sky down``. Its server is started beforehand.

The rig's machines boot in a second and answer without delay; the wheels, uv and SkyPilot's own runtime lie ready on their
disk (a fresh machine downloads all of them). So the seconds are those of the two programs, not of a network.

Exit code 1 when a goal is missed, 2 when the rig cannot run here, 3 when one side did not get through.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.billed_phases import PHASES, WORK, Marks, compared, misses


def measure(runs: int) -> dict[str, Any]:
    """Rent by turns, so that a busy minute of this machine strikes both."""
    from benchmarks.overhead_sides import by_cloudtune, by_sky
    from tests.trainer.trainer_rig import make_tiny_model

    cloudtune: list[Marks] = []
    sky: list[Marks] = []
    for number in range(1, runs + 1):
        with tempfile.TemporaryDirectory(prefix="billed-overhead-") as scratch:
            folder = Path(scratch)
            model = make_tiny_model(folder / "tiny-llama")
            for side in ("cloudtune", "sky"):
                (folder / side).mkdir()
            _say(f"run {number} of {runs}: cloudtune run")
            marks, bundle = by_cloudtune(folder / "cloudtune", model)
            cloudtune.append(marks)
            _say(f"run {number} of {runs}: sky launch")
            sky.append(by_sky(folder / "sky", model, bundle))
    return compared(cloudtune, sky)


def table(result: dict[str, Any]) -> str:
    """For people."""
    mine, plain = result["phases_s"]["cloudtune"], result["phases_s"]["sky"]
    rows = [f"{'billed seconds':<16}{'cloudtune':>10}{'sky launch':>12}"]
    rows += [f"{name:<16}{mine[name]:>10.1f}{plain[name]:>12.1f}" for name in PHASES]
    total = [sum(seconds for name, seconds in side.items() if name != WORK) for side in (mine, plain)]
    rows.append(f"{'not training':<16}{total[0]:>10.1f}{total[1]:>12.1f}   ratio {result['overhead_ratio']:.2f}")
    rows.append(f"From the last byte pulled to nothing listed: {result['teardown_s']:.1f} s")
    return "\n".join(rows)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _reason_missing() -> str | None:
    """What keeps the rig from running here, with the command that enables it."""
    if missing := [name for name in ("sky", "vastai", "torch", "transformers", "pytest") if importlib.util.find_spec(name) is None]:
        return f"{', '.join(missing)} not installed: pip install -e '.[train,sky,dev]'"
    from tests.rigs.vast.rig import reason_missing

    return reason_missing()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.billed_overhead")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    if reason := _reason_missing():
        _say(f"This cannot be measured here: {reason}")
        return 2
    try:
        result = measure(max(1, arguments.runs))
    except (RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
        _say(f"One side did not get through, so there is nothing to compare: {error}")
        return 3
    print(json.dumps(result) if arguments.json else table(result))
    missed = misses(result)
    for sentence in missed:
        _say(sentence)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
