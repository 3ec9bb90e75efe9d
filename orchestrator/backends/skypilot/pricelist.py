"""SkyPilot's price list of Vast, written by cloudtune: exactly the offers of a plan, so that nothing is left to choose.

SkyPilot refuses what its list does not have; the hosted list is months old, and offers of a marketplace change by the
hour. A list without a checksum beside it counts as the user's own and is never overwritten (``sky/catalog/common.py``).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from orchestrator.ledger.paths import private
from orchestrator.plan.offers import Offer
from trainer.contract import write_atomically

COLUMNS = (
    "InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "Region", "GpuInfo", "SpotPrice", "HostingType",
)  # fmt: skip


def write_vast(folder: Path, offers: Iterable[Offer]) -> None:
    """Add ``offers`` to the list below ``folder`` (``~/.sky/catalogs/v8``); newer rates replace older. Raises OSError, ValueError."""
    path = private(folder / "vast") / "vms.csv"
    rows: dict[tuple[str, str], dict[str, object]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = {(row["InstanceType"], row["Region"]): dict(row) for row in csv.DictReader(file)}
    for offer in offers:
        rows[offer.instance_type, offer.region] = rows.get((offer.instance_type, offer.region), {}) | _row(offer)
    _write(path, COLUMNS, rows.values())


def write_names(folder: Path, names: Iterable[str]) -> None:
    """The list of GPU names that SkyPilot takes at all, added to. Raises OSError."""
    path = private(folder / "common") / "accelerators.csv"
    known: set[str] = set()
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            known = {row["AcceleratorName"] for row in csv.DictReader(file)}
    _write(path, ("AcceleratorName", "Clouds"), [{"AcceleratorName": name, "Clouds": "vast"} for name in sorted(known | set(names))])


def _row(offer: Offer) -> dict[str, object]:
    cpus, memory_mib = offer.instance_type.rsplit("-", 2)[1:]
    gpu_mib = round(offer.usable_gib * 1024)
    info = {
        "Gpus": [{"Name": offer.gpu, "Count": float(offer.count), "MemoryInfo": {"SizeInMiB": gpu_mib}}],
        "TotalGpuMemoryInMiB": gpu_mib * offer.count,
    }
    row: dict[str, object] = {
        "InstanceType": offer.instance_type,
        "AcceleratorName": offer.gpu,
        "AcceleratorCount": float(offer.count),
        "vCPUs": float(cpus),
        "MemoryGiB": float(memory_mib) / 1024,
        "Region": offer.region,
        "GpuInfo": repr(info),
        "HostingType": 1,
    }
    return row | {"SpotPrice" if offer.spot else "Price": offer.usd_per_hour}


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
