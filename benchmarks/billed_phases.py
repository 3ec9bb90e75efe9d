"""From the instants of a rented run to billed seconds by phase, and what two ways of renting compare to. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Any

MOST_RATIO = 0.70
MOST_TEARDOWN_S = 30.0
CLOCK_S = 0.1  # instants come from several clocks' readings of one machine, some of them rounded
WORK = "train"
_BETWEEN = ("boot", "ready", "runtime", "upload", "start", "install", "start", WORK, "pull", "teardown")  # two instants each
PHASES = tuple(dict.fromkeys(_BETWEEN))


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Instants of one rented run, unix seconds, in the order in which they happen."""

    created: float  # the provider's books: the bill begins, with the disk
    running: float  # the provider's books: the GPU is billed from here
    reached: float  # the first command over SSH has come back
    equipped: float  # whatever the renter needs there before files can go; the upload begins
    sent: float  # the files are there
    installing: float  # the job has been started there and installs its packages
    installed: float  # the packages are there
    working: float  # the trainer begins to score the untrained model, or to train
    worked: float  # its last score is known
    pulled: float  # the last byte of the adapter is home
    ended: float  # the provider's books: the bill ends
    unlisted: float  # the provider's list, asked, shows nothing


def phases(marks: Marks) -> dict[str, float]:
    """Seconds by phase; together they are the bill. Raises ValueError when an instant comes before the one it follows."""
    found = dict.fromkeys(PHASES, 0.0)
    for name, (earlier, later) in zip(_BETWEEN, pairwise(astuple(marks)[:-1]), strict=True):
        if later < earlier - CLOCK_S:
            raise ValueError(f"{name} ends {earlier - later:.2f} s before it begins")
        found[name] += later - earlier
    return found


def overhead_s(by_phase: dict[str, float]) -> float:
    """Billed seconds that are not the work."""
    return sum(seconds for name, seconds in by_phase.items() if name != WORK)


def compared(cloudtune: Sequence[Marks], sky: Sequence[Marks]) -> dict[str, Any]:
    """Medians of all runs, as ``billed_overhead --json`` prints them."""
    sides = {"cloudtune": [phases(one) for one in cloudtune], "sky": [phases(one) for one in sky]}
    mine, plain = (statistics.median(map(overhead_s, runs)) for runs in sides.values())
    return {
        "phases_s": {
            side: {name: round(statistics.median(run[name] for run in runs), 2) for name in PHASES} for side, runs in sides.items()
        },
        "overhead_ratio": round(mine / plain, 3),
        "teardown_s": round(statistics.median(one.unlisted - one.pulled for one in cloudtune), 2),
    }


def misses(result: dict[str, Any]) -> list[str]:
    """A sentence for each goal that is missed."""
    said = []
    if result["overhead_ratio"] > MOST_RATIO:
        said.append(f"cloudtune is billed {result['overhead_ratio']:.2f} of SkyPilot's overhead; at most {MOST_RATIO:.2f} is wanted.")
    if result["teardown_s"] > MOST_TEARDOWN_S:
        said.append(
            f"The provider still listed something {result['teardown_s']:.0f} s after the pull; {MOST_TEARDOWN_S:.0f} s is the most."
        )
    return said
