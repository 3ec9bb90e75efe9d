"""Plans that are kept: ``plan`` keeps what it showed, ``run --plan`` starts it while it is true, and says why when it is not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.cli import output
from orchestrator.errors import UsageProblem
from orchestrator.ledger.paths import private, state_dir
from orchestrator.plan.plan import Plan
from orchestrator.plan.saved import SavedPlan, held_to, limits_document, no_longer_true, read_plan
from orchestrator.spec.jobspec import Job
from orchestrator.spec.parse import Key
from trainer.contract import write_atomically

FOLDER = "plans"  # in the state folder
KEEP = 20
NEWEST = "last"
_LEAST_CHARS = 4


def keep(document: dict[str, Any]) -> Path | None:
    """Write a plan where ``run --plan`` finds it; the newest few are kept. None when it cannot be written: nothing depends on it."""
    try:
        folder = private(state_dir() / FOLDER)
        path = folder / f"{document['fingerprint']}.json"
        write_atomically(path, output.dump(document) + "\n")
        for old in _newest_first(folder)[KEEP:]:
            old.unlink(missing_ok=True)
    except OSError:
        return None
    return path


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True) if folder.is_dir() else []


def find(given: str) -> SavedPlan:
    """The plan that a person means: a file, the first characters of a fingerprint, or ``last``. Raises UsageProblem."""
    path = _path_of(given)
    try:
        return read_plan(path.read_bytes())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageProblem(f"{path} is not a plan that can be used: {why}", hint="cloudtune plan makes one and keeps it") from error


def _path_of(given: str) -> Path:
    if Path(given).is_file():
        return Path(given)
    kept = _newest_first(state_dir() / FOLDER)
    found = kept[:1] if given == NEWEST else [p for p in kept if len(given) >= _LEAST_CHARS and p.stem.startswith(given)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageProblem(f"several plans begin with {given}: {', '.join(p.stem for p in found)}", hint="more of its characters")
    listed = f"kept: {', '.join(p.stem for p in kept[:5])}" if kept else "none is kept yet"
    raise UsageProblem(f"there is no plan {given} ({listed})", hint="cloudtune plan makes one and says its name")


def flags_of(saved: SavedPlan, given: Mapping[Key, Any]) -> dict[Key, Any]:
    """The flags of a run: those it was given, and else those the plan was made with."""
    planned = {tuple(name.split(".")): value for name, value in saved.asked.items()}
    return {**planned, **{key: value for key, value in given.items() if value is not None}}


def asked_document(flags: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Flags as a kept plan has them."""
    return {".".join(key): value for key, value in flags.items() if value is not None}


def settled(job: Job, plan: Plan | None, saved: SavedPlan) -> Plan:
    """What may be started for a kept plan: what it offered, while that is still true; else the plan as it is now. Says which.

    Raises UsageProblem when the run is on this machine.
    """
    from orchestrator.cli.planning import limits_of

    if plan is None:
        raise UsageProblem("this run is on this machine, and a plan is of what is rented", hint="leave --plan out; or name a --budget")
    limits = limits_of(job, keep_quality=False, allow_unguarded=False, startable=frozenset())
    why = no_longer_true(saved, plan, limits_document(limits))
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(saved.made_at))
    if why is not None:
        output.messages().print(f"Plan {saved.fingerprint} of {when} is not used: {why}. Planned again.", markup=False, soft_wrap=True)
        return plan
    output.messages().print(f"Plan {saved.fingerprint} of {when} still holds.", markup=False)
    return held_to(saved, plan)


def said(plan: Plan, path: Path | None) -> str:
    """How to start what was shown, and until when."""
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(plan.expires_at))
    if path is None:
        return f"Plan {plan.fingerprint}, good until {until} (it could not be kept: {state_dir()} cannot be written)."
    return f"Plan {plan.fingerprint}, good until {until}: cloudtune run --plan {plan.fingerprint[:8]}"
