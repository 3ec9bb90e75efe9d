"""Offers of the emulated marketplace, and the search over them. Pure: no clock, no disk.

Field names and filter operators are those that the provider's own client sends and knows (`vastai/api/query.py`, version 1.9.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
HOURS_PER_MONTH = 30 * 24  # storage is priced by the GB and month


class BadQuery(Exception):
    """A filter on a field or with an operator that an offer does not have."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One machine that can be rented, and how the rig plays it."""

    id: int
    gpu_name: str  # as the provider spells it: "RTX 4090", "A100 SXM4"
    dph_base: float  # USD an hour of the GPUs alone
    min_bid: float  # USD an hour, the lowest price that wins an interruptible machine
    gpu_ram: int  # MiB a GPU
    score: float  # the provider's own ranking, opaque; search sorts by it unless told otherwise
    num_gpus: int = 1
    storage_cost: float = 0.15  # USD a GB and month
    geolocation: str = "Texas, US"
    cpu_cores: int = 64
    cpu_ram: int = 131072  # MiB
    disk_space: float = 500.0  # GB free on the host
    reliability: float = 0.995
    cuda_max_good: float = 12.8
    driver_version: str = "570.133.20"
    compute_cap: int = 890
    inet_down: float = 800.0  # Mb/s
    inet_up: float = 500.0
    duration: float = 30 * 86400.0  # seconds for which the host rents it out
    hosting_type: int = 1  # 1: a datacenter
    verified: bool = True
    # How the rig plays it, unknown to the API:
    has_gpu: bool = True  # False: no nvidia-smi in the instance
    boot_s: float = 1.0  # time in "loading"
    writable_gib: float | None = None  # size of the instance's writable layer; None: what was asked for as `disk`

    def price_usd_per_hour(self, *, disk_gb: float, bid: float | None = None) -> float:
        """GPUs, or the bid, plus `disk_gb` of storage: the provider's `dph_total`."""
        return (self.dph_base if bid is None else bid) + self.storage_usd_per_hour(disk_gb)

    def storage_usd_per_hour(self, disk_gb: float) -> float:
        return self.storage_cost * disk_gb / HOURS_PER_MONTH

    def row(self, *, disk_gb: float, rented: bool = False, bid: bool = False) -> Row:
        """The offer as search returns it; `dph_total` counts the storage that the search names as `allocated_storage`."""
        total = self.price_usd_per_hour(disk_gb=disk_gb, bid=self.min_bid if bid else None)
        hidden = ("has_gpu", "boot_s", "writable_gib")
        shown = {name: value for name, value in vars(self).items() if name not in hidden}
        return shown | {
            "ask_contract_id": self.id,
            "machine_id": 40000 + self.id,
            "host_id": 70000 + self.id,
            "dph_total": total,
            "search": {"gpuCostPerHour": self.dph_base, "totalHour": total},
            "gpu_total_ram": self.gpu_ram * self.num_gpus,
            "cpu_cores_effective": float(self.cpu_cores),
            "gpu_arch": "nvidia",
            "cpu_arch": "amd64",
            "reliability2": self.reliability,
            "rentable": not rented,
            "rented": rented,
            "external": False,
            "verification": "verified" if self.verified else "unverified",
            "is_bid": bid,
            "direct_port_count": 100,
            "static_ip": True,
            "inet_up_cost": 0.0,
            "inet_down_cost": 0.0,
            "dlperf_per_dphtotal": self.score,
        }


DEFAULT: tuple[Offer, ...] = (
    # Sorted by score the A100 comes first: a client whose filters are lost on the way rents it.
    Offer(
        id=103,
        gpu_name="A100 SXM4",
        dph_base=0.85,
        min_bid=0.50,
        gpu_ram=81920,
        score=900.0,
        disk_space=900.0,
        cpu_ram=262144,
        compute_cap=800,
    ),
    Offer(id=102, gpu_name="RTX 4090", dph_base=0.34, min_bid=0.20, gpu_ram=24564, score=500.0),
    Offer(id=104, gpu_name="RTX 4090", dph_base=0.39, min_bid=0.24, gpu_ram=24564, score=480.0, geolocation="Utah, US"),
    Offer(id=105, gpu_name="RTX 4090", dph_base=0.44, min_bid=0.26, gpu_ram=24564, score=450.0, geolocation="Spain, ES"),
    Offer(id=106, gpu_name="RTX 4090", num_gpus=2, dph_base=0.70, min_bid=0.40, gpu_ram=24564, score=470.0, geolocation="Utah, US"),
    Offer(id=107, gpu_name="RTX 3090", dph_base=0.18, min_bid=0.10, gpu_ram=24576, score=400.0, compute_cap=860),
    Offer(id=101, gpu_name="RTX 3060", dph_base=0.07, min_bid=0.04, gpu_ram=12288, score=300.0, cpu_cores=32, compute_cap=860),
)

_OPERATORS = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "in": lambda a, b: a in b,
    "notin": lambda a, b: a not in b,
}
_NOT_FILTERS = {"order", "type", "limit", "allocated_storage", "disable_bundling"}


def search(offers: Iterable[Offer], query: Row, *, rented: set[int]) -> list[Row]:
    """The offers that pass every filter, in the order asked for. Raises BadQuery for a field or operator nobody knows."""
    disk_gb, bid = float(query.get("allocated_storage") or 5.0), query.get("type") in ("bid", "interruptible")
    rows = [offer.row(disk_gb=disk_gb, rented=offer.id in rented, bid=bid) for offer in offers]
    filters = {field: tests for field, tests in query.items() if field not in _NOT_FILTERS}
    passed = [row for row in rows if all(_passes(row, field, tests) for field, tests in filters.items())]
    for field, direction in reversed(query.get("order") or []):
        passed.sort(key=lambda row: row[field], reverse=direction == "desc")
    return passed[: int(query.get("limit") or 64)]


def _passes(row: Row, field: str, tests: Row) -> bool:
    if field not in row:
        raise BadQuery(f"no field {field!r} in an offer")
    # A place is found by the country code that it ends in: the provider's own region lists are country codes.
    value = row[field][-2:] if field == "geolocation" else row[field]
    for operator, wanted in tests.items():
        if operator not in _OPERATORS:
            raise BadQuery(f"no operator {operator!r}")
        if not _OPERATORS[operator](value, _alike(wanted, value)):
            return False
    return True


def _alike(wanted: Any, value: Any) -> Any:
    """The client sends numbers as strings."""
    if isinstance(wanted, list):
        return [_alike(one, value) for one in wanted]
    if isinstance(value, (int, float)) and isinstance(wanted, str):
        try:
            return float(wanted)
        except ValueError as error:
            raise BadQuery(f"{wanted!r} is no number") from error
    return wanted
