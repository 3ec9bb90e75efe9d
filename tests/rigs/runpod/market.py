"""What the emulated RunPod rents out: GPU types, their prices and how many are free where. Pure: no clock, no disk.

Field names are those of the type GpuType in the provider's GraphQL specification, as its client and SkyPilot read them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

HOURS_PER_MONTH = 730
SECURE, COMMUNITY = "SECURE", "COMMUNITY"
_COUNTRIES = {"EU-RO": "RO", "EU-CZ": "CZ", "EU-SE": "SE", "EUR-IS": "IS", "CA-MTL": "CA", "US": "US"}


def country(data_center: str) -> str:
    """ "US" of "US-TX-3": sky/catalog/data_fetchers/fetch_runpod.py, REGION_ZONES."""
    return next(code for start, code in _COUNTRIES.items() if data_center.startswith(start))


@dataclass(frozen=True, kw_only=True)
class GpuType:
    """One type of GPU. Prices are USD a GPU and hour; `None`: not rented out in that cloud."""

    id: str  # NVIDIA's own spelling
    display_name: str
    memory_gb: int
    secure_price: float | None
    community_price: float | None
    secure_spot_price: float | None  # the lowest bid that wins
    community_spot_price: float | None
    data_centers: tuple[str, ...] = ("US-TX-3", "EU-RO-1")
    free: int = 8  # GPUs in each data centre and cloud
    max_count: int = 8  # in one pod
    vcpus: int = 8  # a GPU
    ram_gb: int = 48  # a GPU
    driver_version: str = "570.133.20"
    cuda: float = 12.8
    # How the rig plays it, unknown to the API:
    has_gpu: bool = True  # False: no nvidia-smi in the pod
    boot_s: float = 1.0  # until the container runs
    writable_gib: float | None = None  # size of the container disk; None: what was asked for

    def price(self, cloud: str, *, spot: bool = False) -> float | None:
        if cloud == SECURE:
            return self.secure_spot_price if spot else self.secure_price
        return self.community_spot_price if spot else self.community_price

    def row(self) -> dict[str, Any]:
        """The type as `gpuTypes` has it, without `lowestPrice`."""
        return {
            "id": self.id,
            "displayName": self.display_name,
            "manufacturer": "Nvidia",
            "memoryInGb": self.memory_gb,
            "cudaCores": 0,
            "maxGpuCount": self.max_count,
            "maxGpuCountSecureCloud": self.max_count if self.secure_price else 0,
            "maxGpuCountCommunityCloud": self.max_count if self.community_price else 0,
            "secureCloud": self.secure_price is not None,
            "communityCloud": self.community_price is not None,
            "securePrice": self.secure_price,
            "communityPrice": self.community_price,
            "secureSpotPrice": self.secure_spot_price,
            "communitySpotPrice": self.community_spot_price,
        }

    def lowest_price(self, free: dict[str, int], *, count: int, secure: bool | None) -> dict[str, Any]:
        """The cheapest cloud that has `count` free. `free`: cloud -> GPUs in its best data centre.

        Assumed: where none has, every price is null, and so is the stock.
        """
        clouds = [cloud for cloud in (SECURE, COMMUNITY) if secure is None or secure == (cloud == SECURE)]
        rented = [cloud for cloud in clouds if free.get(cloud, 0) >= count and self.price(cloud) is not None]
        if not rented:
            return {"availableGpuCounts": []}
        cloud = min(rented, key=lambda one: self.price(one) or 0.0)
        most = min(free[cloud], self.max_count)
        return {
            "minimumBidPrice": self.price(cloud, spot=True),
            "uninterruptablePrice": self.price(cloud),
            "minVcpu": self.vcpus * count,
            "minMemory": self.ram_gb * count,
            "stockStatus": "High" if most > 4 else "Medium" if most > 1 else "Low",
            "maxUnreservedGpuCount": most,
            "availableGpuCounts": list(range(1, most + 1)),
        }


DEFAULT: tuple[GpuType, ...] = (
    GpuType(
        id="NVIDIA A100-SXM4-80GB",
        display_name="A100 SXM",
        memory_gb=80,
        secure_price=1.49,
        community_price=None,
        secure_spot_price=0.95,
        community_spot_price=None,
        ram_gb=117,
    ),
    GpuType(
        id="NVIDIA GeForce RTX 4090",
        display_name="RTX 4090",
        memory_gb=24,
        secure_price=0.69,
        community_price=0.34,
        secure_spot_price=0.35,
        community_spot_price=0.20,
        data_centers=("US-TX-3", "EU-RO-1", "CA-MTL-1"),
    ),
    GpuType(
        id="NVIDIA GeForce RTX 3090",
        display_name="RTX 3090",
        memory_gb=24,
        secure_price=0.46,
        community_price=0.22,
        secure_spot_price=0.25,
        community_spot_price=0.12,
    ),
    GpuType(
        id="NVIDIA L4",
        display_name="L4",
        memory_gb=24,
        secure_price=0.43,
        community_price=None,
        secure_spot_price=0.24,
        community_spot_price=None,
        data_centers=("EU-RO-1",),
        free=1,
    ),
)


def places(gpu: GpuType, *, clouds: Iterable[str], data_center: str | None, country_code: str | None) -> list[tuple[str, str]]:
    """(cloud, data centre) in which this GPU is rented out and that were asked for, the cheapest cloud first."""
    found = [
        (cloud, place)
        for cloud in clouds
        for place in gpu.data_centers
        if gpu.price(cloud) is not None and data_center in (None, "", place) and country_code in (None, "", country(place))
    ]
    return sorted(found, key=lambda one: gpu.price(one[0]) or 0.0)
