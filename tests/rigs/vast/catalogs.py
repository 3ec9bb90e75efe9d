"""SkyPilot's price list for Vast, made from the rig's offers: its wheel ships none, and the rig has no network to fetch one.

A list without a checksum beside it counts as the user's own and is never overwritten (sky/catalog/common.py).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from tests.rigs.vast import market
from tests.rigs.vast.market import Offer

COLUMNS = [
    "InstanceType",
    "AcceleratorName",
    "AcceleratorCount",
    "vCPUs",
    "MemoryGiB",
    "Price",
    "Region",
    "GpuInfo",
    "SpotPrice",
    "HostingType",
]
# An instance type is rounded down to this, or every host would be a type of its own (vastai/utils.py, "chunked").
CPUS, MEMORY_MIB = 32, 65536
REGIONS = {"US": "NA", "ES": "EU"}


def accelerator(gpu_name: str) -> str:
    """SkyPilot's name for the provider's: "RTX 4090" is RTX4090."""
    return re.sub(r"(Ti|PCIE|SXM4|SXM|NVL)$", "", gpu_name.replace(" ", ""))  # as sky/catalog/data_fetchers/fetch_vast.py does


def seed_catalogs(home: Path, offers: Iterable[Offer] = market.DEFAULT) -> None:
    """Write `<home>/.sky/catalogs/v8/`: one row an instance type and region, with the cheapest offer's price (100 GB of disk)."""
    folder = home / ".sky" / "catalogs" / "v8"
    (folder / "vast").mkdir(parents=True, exist_ok=True)
    (folder / "common").mkdir(exist_ok=True)
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for offer in sorted(offers, key=lambda one: -one.dph_base):
        kind = f"{offer.num_gpus}x-{offer.gpu_name.replace(' ', '_')}-{CPUS}-{MEMORY_MIB}"
        region = f"{offer.geolocation}, {REGIONS[offer.geolocation[-2:]]}"
        rows[kind, region] = {
            "InstanceType": kind,
            "AcceleratorName": accelerator(offer.gpu_name),
            "AcceleratorCount": float(offer.num_gpus),
            "vCPUs": float(CPUS),
            "MemoryGiB": MEMORY_MIB / 1024,
            "Price": round(offer.price_usd_per_hour(disk_gb=100), 4),
            "Region": region,
            "GpuInfo": repr(_gpu_info(offer)),
            "SpotPrice": round(offer.price_usd_per_hour(disk_gb=100, bid=offer.min_bid), 4),
            "HostingType": offer.hosting_type,
        }
    _write(folder / "vast" / "vms.csv", COLUMNS, rows.values())
    names = sorted({str(row["AcceleratorName"]) for row in rows.values()})
    _write(
        folder / "common" / "accelerators.csv",
        ["AcceleratorName", "Clouds"],
        [{"AcceleratorName": name, "Clouds": "vast"} for name in names],
    )


def _gpu_info(offer: Offer) -> dict[str, object]:
    gpu = {"Name": accelerator(offer.gpu_name), "Count": float(offer.num_gpus), "MemoryInfo": {"SizeInMiB": offer.gpu_ram}}
    return {"Gpus": [gpu], "TotalGpuMemoryInMiB": offer.gpu_ram * offer.num_gpus}


def _write(path: Path, columns: list[str], rows: Iterable[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
