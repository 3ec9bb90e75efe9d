"""SkyPilot's price list for Vast."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.rigs.machines import catalogs
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
    """One row an instance type and region, with the cheapest offer's price (100 GB of disk)."""
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
    catalogs.write(home, "vast", COLUMNS, rows.values())


def _gpu_info(offer: Offer) -> dict[str, object]:
    gpu = {"Name": accelerator(offer.gpu_name), "Count": float(offer.num_gpus), "MemoryInfo": {"SizeInMiB": offer.gpu_ram}}
    return {"Gpus": [gpu], "TotalGpuMemoryInMiB": offer.gpu_ram * offer.num_gpus}
