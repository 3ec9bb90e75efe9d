"""Simulated nights: the engine against a cloud that lies, a laptop that sleeps and controllers that die.

``python -m benchmarks.simulate --seeds 3000``            prints what failed, and how much went wrong on the way
``python -m benchmarks.simulate --break hashed_pull``     removes one rule, to see the checks catch it
``python -m benchmarks.simulate --trace 10``              one night as JSON lines, the truth beside the journal's view
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestrator.backends.simulated.checks import budget_allowed, problems
from orchestrator.backends.simulated.faults import HARSH, KINDS, REALISTIC, Rates
from orchestrator.backends.simulated.night import play, trace_line
from orchestrator.backends.simulated.world import START
from orchestrator.ledger.database import Database
from orchestrator.ledger.journal import Ledger
from orchestrator.run.events import Outcome
from orchestrator.run.rules import ALL_RULES, RULE_NAMES, Rules

CHUNK = 50  # seeds that one process plays before it reports
DAY_S = 86400.0
RATES: dict[str, Rates] = {"harsh": HARSH, "realistic": REALISTIC}


@dataclass(kw_only=True)
class Tally:
    """What some nights added up to."""

    runs: int = 0
    failing: dict[int, list[str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    simulated_s: float = 0.0
    cpu_s: float = 0.0
    succeeded: int = 0
    allowed: int = 0  # runs that the budget and the person allowed to finish
    allowed_succeeded: int = 0

    def add(self, other: Tally) -> None:
        self.runs += other.runs
        self.failing |= other.failing
        self.faults += other.faults
        self.endings += other.endings
        self.simulated_s += other.simulated_s
        self.cpu_s += other.cpu_s
        self.succeeded += other.succeeded
        self.allowed += other.allowed
        self.allowed_succeeded += other.allowed_succeeded


def nights(seeds: range, rates: Rates, rules: Rules) -> Tally:
    """Play some seeds in this process."""
    ledger, tally, started = Ledger(Database.in_memory()), Tally(), time.process_time()
    for seed in seeds:
        night = play(seed, rates, rules, ledger=ledger)
        found = problems(night)
        if found:
            tally.failing[seed] = found
        won = night.state.outcome == Outcome.SUCCEEDED
        allowed = budget_allowed(night)
        tally.runs += 1
        tally.faults += night.world.counts
        tally.endings[f"{night.state.outcome} ({night.state.reason})"] += 1
        tally.simulated_s += night.world.now - START
        tally.succeeded += won
        tally.allowed += allowed
        tally.allowed_succeeded += won and allowed
    tally.cpu_s = time.process_time() - started
    return tally


def _chunk(job: tuple[int, int, str, str | None]) -> Tally:
    first, last, rates, broken = job
    return nights(range(first, last), RATES[rates], Rules.without(broken) if broken else ALL_RULES)


def run(start: int, seeds: int, rates: str, broken: str | None, processes: int) -> Iterator[Tally]:
    """Tallies of chunks as they come, in any order."""
    jobs = [(first, min(first + CHUNK, start + seeds), rates, broken) for first in range(start, start + seeds, CHUNK)]
    if processes == 1 or len(jobs) == 1:
        yield from map(_chunk, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_chunk, jobs)


def document(tally: Tally) -> dict[str, Any]:
    """The result as JSON."""
    return {
        "failing": sorted(tally.failing),
        "rules": list(RULE_NAMES),
        "simulated_days": round(tally.simulated_s / DAY_S, 1),
        "faults": {kind: tally.faults.get(kind, 0) for kind in KINDS},
        "succeeded_pct": round(100.0 * tally.succeeded / max(1, tally.runs), 2),
        "allowed_succeeded_pct": round(100.0 * tally.allowed_succeeded / max(1, tally.allowed), 2),
        "runs": tally.runs,
        "runs_per_s": round(tally.runs / max(1e-9, tally.cpu_s), 1),
        "endings": dict(tally.endings.most_common()),
    }


def report(tally: Tally) -> None:
    """The result for a person."""
    for seed in sorted(tally.failing)[:20]:
        print(f"seed {seed}: {'; '.join(tally.failing[seed])}")
    summary = document(tally)
    print(
        f"{tally.runs} nights, {len(tally.failing)} failing; {summary['simulated_days']} simulated days; {summary['runs_per_s']} nights/s and core"
    )
    print("faults: " + ", ".join(f"{kind} {count}" for kind, count in summary["faults"].items()))
    print("endings: " + ", ".join(f"{ending} {count}" for ending, count in summary["endings"].items()))
    print(
        f"succeeded: {summary['succeeded_pct']} % of all, {summary['allowed_succeeded_pct']} % of those that budget, deadline and user allowed"
    )


def trace(seed: int, rates: Rates, rules: Rules) -> None:
    """One night as JSON lines."""
    night = play(seed, rates, rules, tracer=lambda world, state, event: print(json.dumps(trace_line(world, state, event), sort_keys=True)))
    print(json.dumps({"seed": seed, "problems": problems(night), "faults": dict(sorted(night.world.counts.items()))}, sort_keys=True))


def main() -> None:
    """Entry point; exits with 1 when a seed fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N")
    parser.add_argument("--start", type=int, default=0, metavar="S")
    parser.add_argument("--break", dest="broken", choices=RULE_NAMES, metavar="RULE", help="remove one rule: " + ", ".join(RULE_NAMES))
    parser.add_argument("--rates", choices=sorted(RATES), default="harsh")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trace", type=int, metavar="SEED")
    arguments = parser.parse_args()
    if arguments.trace is not None:
        trace(arguments.trace, RATES[arguments.rates], Rules.without(arguments.broken) if arguments.broken else ALL_RULES)
        return
    if arguments.seeds < 1:
        parser.error("--seeds must be at least 1")
    total = Tally()
    for tally in run(arguments.start, arguments.seeds, arguments.rates, arguments.broken, arguments.processes):
        total.add(tally)
        if sys.stderr.isatty():
            print(f"\r{total.runs}/{arguments.seeds} nights, {len(total.failing)} failing", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if arguments.json:
        print(json.dumps(document(total), indent=1))
    else:
        report(total)
    sys.exit(1 if total.failing else 0)


if __name__ == "__main__":
    main()
