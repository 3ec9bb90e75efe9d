"""SkyPilot's price lists of Vast and RunPod, written by cloudtune: exactly the offers of a plan, so that nothing is left to choose.

SkyPilot refuses what its list does not have; the hosted list is months old, and offers of a marketplace change by the
hour. A list without a checksum beside it counts as the user's own and is never overwritten (``sky/catalog/common.py``).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestrator.ledger.paths import private
from orchestrator.plan.offers import Offer
from trainer.contract import write_atomically

ANYWHERE = "anywhere"  # in RunPod's list: no country, no data centre
COLUMNS = (
    "InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "Region", "GpuInfo", "SpotPrice",
    "AvailabilityZone", "HostingType",
)  # fmt: skip
_LEFT_OUT = {"vast": "AvailabilityZone", "runpod": "HostingType"}
_CPUS, _MEMORY_GIB = 4, 16  # a GPU, on RunPod: what SkyPilot asks for at least (``sky/provision/runpod/utils.py``), and a guess


def write_offers(folder: Path, offers: Sequence[Offer]) -> None:
    """Add ``offers`` to the lists below ``folder`` (``~/.sky/catalogs/v8``); newer rates replace older. Raises OSError, ValueError."""
    for cloud, left_out in _LEFT_OUT.items():
        path = private(folder / cloud) / "vms.csv"
        columns = tuple(column for column in COLUMNS if column != left_out)
        rows: dict[tuple[str, str], dict[str, object]] = {}
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                rows = {(row["InstanceType"], row["Region"]): dict(row) for row in csv.DictReader(file)}
        for new in (_row(offer) for offer in offers if offer.cloud == cloud):
            key = str(new["InstanceType"]), str(new["Region"])
            rows[key] = rows.get(key, {}) | {name: value for name, value in new.items() if name != left_out}
        if rows:
            _write(path, columns, rows.values())


def write_names(folder: Path, names: Iterable[str]) -> None:
    """The list of GPU names that SkyPilot takes at all, added to. Raises OSError."""
    path = private(folder / "common") / "accelerators.csv"
    known: set[str] = set()
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            known = {row["AcceleratorName"] for row in csv.DictReader(file)}
    _write(path, ("AcceleratorName", "Clouds"), [{"AcceleratorName": name, "Clouds": "vast,runpod"} for name in sorted(known | set(names))])


def _row(offer: Offer) -> dict[str, object]:
    gpu_mib = round(offer.usable_gib * 1024)
    info = {
        "Gpus": [{"Name": offer.gpu, "Count": float(offer.count), "MemoryInfo": {"SizeInMiB": gpu_mib}}],
        "TotalGpuMemoryInMiB": gpu_mib * offer.count,
    }
    row: dict[str, object] = {
        "InstanceType": offer.instance_type,
        "AcceleratorName": offer.gpu,
        "AcceleratorCount": float(offer.count),
        "GpuInfo": repr(info),
    }
    if offer.cloud == "runpod":
        row |= {"vCPUs": float(_CPUS * offer.count), "MemoryGiB": float(_MEMORY_GIB * offer.count)}
        row |= {"Region": offer.region or ANYWHERE, "AvailabilityZone": ANYWHERE}
    else:
        cpus, memory_mib = offer.instance_type.rsplit("-", 2)[1:]
        row |= {"vCPUs": float(cpus), "MemoryGiB": float(memory_mib) / 1024, "Region": offer.region, "HostingType": 1}
    return row | {"SpotPrice" if offer.spot else "Price": offer.usd_per_hour}


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
