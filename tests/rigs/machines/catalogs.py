"""SkyPilot's price lists, made from what the rig's clouds offer: its wheel ships none, and the rig has no network to fetch one.

A list without a checksum beside it counts as the user's own and is never overwritten (sky/catalog/common.py).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write(home: Path, cloud: str, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write `<home>/.sky/catalogs/v8/<cloud>/vms.csv`, and the list of accelerators anew over all clouds that are there."""
    folder = home / ".sky" / "catalogs" / "v8"
    (folder / cloud).mkdir(parents=True, exist_ok=True)
    (folder / "common").mkdir(exist_ok=True)
    _write(folder / cloud / "vms.csv", columns, rows)
    found: dict[str, set[str]] = {}
    for path in folder.glob("*/vms.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["AcceleratorName"], set()).add(path.parent.name)
    names = [{"AcceleratorName": name, "Clouds": ",".join(sorted(found[name]))} for name in sorted(found)]
    _write(folder / "common" / "accelerators.csv", ["AcceleratorName", "Clouds"], names)


def _write(path: Path, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
