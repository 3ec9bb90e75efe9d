"""SkyPilot's price list for RunPod, as sky/catalog/data_fetchers/fetch_runpod.py writes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.rigs.machines import catalogs
from tests.rigs.runpod import market
from tests.rigs.runpod.market import COMMUNITY, SECURE, GpuType

COLUMNS = [
    "InstanceType",
    "AcceleratorName",
    "AcceleratorCount",
    "vCPUs",
    "MemoryGiB",
    "Region",
    "SpotPrice",
    "Price",
    "AvailabilityZone",
    "GpuInfo",
]
_RENAMED = {"A100-PCIe": "A100-80GB", "A100-SXM": "A100-80GB-SXM", "H100-PCIe": "H100"}
COUNTS = (1, 2, 4)


def accelerator(display_name: str) -> str:
    """SkyPilot's name for the provider's: "RTX 4090" is RTX4090 (format_gpu_name there)."""
    name = display_name.replace("RTX ", "RTX").replace(" ", "-")
    return _RENAMED.get(name, name)


def seed_catalogs(home: Path, gpus: Iterable[GpuType] = market.DEFAULT) -> None:
    """One row an instance type (`1x_RTX4090_SECURE`) and data centre."""
    rows = [
        _row(gpu, cloud, place, count)
        for gpu in gpus
        for cloud, place in market.places(gpu, clouds=(SECURE, COMMUNITY), data_center=None, country_code=None)
        for count in COUNTS
        if count <= gpu.max_count
    ]
    catalogs.write(home, "runpod", COLUMNS, rows)


def _row(gpu: GpuType, cloud: str, place: str, count: int) -> dict[str, Any]:
    name = accelerator(gpu.display_name)
    spot = gpu.price(cloud, spot=True)
    card = {"Name": gpu.display_name, "Manufacturer": "Nvidia", "Count": count, "MemoryInfo": {"SizeInMiB": gpu.memory_gb}}
    return {
        "InstanceType": f"{count}x_{name}_{cloud}",
        "AcceleratorName": name,
        "AcceleratorCount": float(count),
        "vCPUs": float(gpu.vcpus * count),
        "MemoryGiB": float(gpu.ram_gb * count),
        "Region": market.country(place),
        "SpotPrice": "" if spot is None else round(spot * count, 4),
        "Price": round((gpu.price(cloud) or 0.0) * count, 4),
        "AvailabilityZone": place,
        "GpuInfo": repr({"Gpus": [card], "TotalGpuMemoryInMiB": gpu.memory_gb * count}),
    }
