"""Money over all runs, and the answer to "am I being charged right now?". Pure views; asks nobody.

An account that could not be asked is unknown, never $0.00.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from orchestrator.ledger.corrections import corrections
from orchestrator.ledger.receipt import iso
from orchestrator.run.events import Instance
from orchestrator.run.state import RunState


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What one account answered."""

    title: str
    instances: tuple[Instance, ...] = ()
    unknown: str | None = None  # why it could not be asked


def charging(accounts: Iterable[Account]) -> dict[str, Any]:
    """``charging``: True, False, or None when some account is unknown and none of the others charges."""
    answered = list(accounts)
    known = [account for account in answered if account.unknown is None]
    rate = sum(instance.usd_per_hour for account in known for instance in account.instances)
    unknown = len(known) < len(answered)
    return {
        "charging": True if rate > 0.0 else None if unknown else False,
        "usd_per_hour": round(rate, 6) if rate > 0.0 or not unknown else None,
        "at_least": unknown,
        "accounts": [_account(account) for account in answered],
    }


def _account(account: Account) -> dict[str, Any]:
    rate = sum(instance.usd_per_hour for instance in account.instances)
    return {
        "account": account.title,
        "unknown": account.unknown,
        "usd_per_hour": None if account.unknown is not None else round(rate, 6),
        "instances": [msgspec.to_builtins(instance) for instance in account.instances],
    }


def spent(states: Mapping[str, RunState], now: float) -> dict[str, Any]:
    """What every run has cost, and how estimates compared with what happened. ``states``: the newest first."""
    runs = [
        {
            "run": run,
            "outcome": state.outcome.value if state.outcome else None,
            "attempts": len(state.attempts),
            "cost_usd": round(state.total_usd(now), 6),
            "cap_usd": state.cap_usd,
            "began_at": iso(state.planned_at),
        }
        for run, state in states.items()
    ]
    learned = corrections(states.values())
    return {
        "runs": runs,
        "total_usd": round(sum(state.total_usd(now) for state in states.values()), 6),
        "corrections": {gpu: {"factor": round(c.factor, 3), "runs": c.runs} for gpu, c in learned.items()},
    }
