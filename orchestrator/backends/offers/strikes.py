"""Marketplace machines that failed us, remembered for a while: ``$XDG_STATE_HOME/cloudtune/strikes.json``."""

from __future__ import annotations

import json
import os
from pathlib import Path

from orchestrator.backends.offers.blame import Strike, strikes_of
from orchestrator.ledger.paths import private
from orchestrator.run.state import RunState

FORGIVEN_S = 30 * 86400.0
FILE_NAME = "strikes.json"


def _all(folder: Path) -> dict[str, dict[str, object]]:
    """Every strike; an unreadable list counts as empty, because it only spares trouble and guards no money."""
    try:
        found = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {k: v for k, v in found.items() if isinstance(v, dict) and isinstance(v.get("at"), (int, float))} if isinstance(found, dict) else {}
    )


def strike(folder: Path, cloud: str, machine: str, why: str, now: float) -> None:
    """Remember that a machine failed. ``now``: seconds since 1970. Raises OSError when it cannot be written."""
    kept = {key: value for key, value in _all(folder).items() if now - float(str(value["at"])) < FORGIVEN_S}
    kept[f"{cloud}/{machine}"] = {"at": now, "why": why}
    path = private(folder) / FILE_NAME
    part = path.with_name(f"{FILE_NAME}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(kept, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def remember(folder: Path, state: RunState) -> tuple[Strike, ...]:
    """Strike the machines that failed this run; those that were not struck yet. May be repeated. Raises OSError."""
    known = _all(folder)
    new = []
    for found in strikes_of(state):
        earlier = known.get(f"{found.cloud}/{found.machine}")
        if earlier is None or float(str(earlier["at"])) < found.at:
            strike(folder, found.cloud, found.machine, found.why, found.at)
            new.append(found)
    return tuple(new)


def struck(folder: Path, cloud: str, now: float) -> frozenset[str]:
    """Machines of a cloud that failed within the last 30 days."""
    mark = f"{cloud}/"
    return frozenset(
        key.removeprefix(mark) for key, value in _all(folder).items() if key.startswith(mark) and now - float(str(value["at"])) < FORGIVEN_S
    )
