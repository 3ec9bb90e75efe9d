"""What was rented, for how long, and what it truly costs: the rig's own truth, which no client can change. Pure: the caller says the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.rigs.machines.rental import Rental
from tests.rigs.vast.market import HOURS_PER_MONTH, Offer

# GPU_BILLED: "Storage charges begin at creation. GPU charges only begin once the status reaches running" (vastai 1.9.1, SKILL.md).
GPU_BILLED = {"running"}


@dataclass(kw_only=True)
class Contract(Rental):
    """One instance that was ever created."""

    id: int
    offer: Offer  # what was delivered
    asked_offer: int
    label: str | None
    image: str | None
    onstart: str
    env: dict[str, str]
    disk_gb: float
    bid_usd_per_hour: float | None  # None: on demand
    intended: str = "running"

    @property
    def gpu_usd_per_hour(self) -> float:
        base = self.offer.dph_base if self.bid_usd_per_hour is None else self.bid_usd_per_hour
        return base * self.rate_factor

    @property
    def storage_usd_per_hour(self) -> float:
        return self.offer.storage_cost * self.disk_gb / HOURS_PER_MONTH

    @property
    def dph_total(self) -> float:
        return self.gpu_usd_per_hour + self.storage_usd_per_hour

    def gpu_billed_s(self, now: float) -> float:
        return self.seconds_in(GPU_BILLED, now)

    def bill_usd(self, now: float) -> float:
        """Storage from creation to the end, the GPUs while running; by the second, unrounded."""
        end = now if self.ended_at is None else self.ended_at
        return ((end - self.created_at) * self.storage_usd_per_hour + self.gpu_billed_s(now) * self.gpu_usd_per_hour) / 3600

    def truth(self, now: float) -> dict[str, Any]:
        return super().truth(now) | {
            "label": self.label,
            "offer_id": self.asked_offer,
            "gpu_name": self.offer.gpu_name,
            "num_gpus": self.offer.num_gpus,
            "dph_total": self.dph_total,
            "disk_gb": self.disk_gb,
            "gpu_billed_s": self.gpu_billed_s(now),
        }

    def row(self, port: int, now: float) -> dict[str, Any]:
        """The instance as the API lists it (field names: vastai/data/instance.py and what SkyPilot's provisioner reads)."""
        running = self.status == "running"
        return self.offer.row(disk_gb=self.disk_gb) | {
            "id": self.id,
            "label": self.label,
            "actual_status": self.status,
            "cur_state": "stopped" if self.status == "exited" else "running",
            "next_state": self.intended,
            "intended_status": self.intended,
            "status_msg": "success, running" if running else self.status,
            "dph_base": self.gpu_usd_per_hour,
            "dph_total": self.dph_total,
            "storage_total_cost": self.storage_usd_per_hour,
            "is_bid": self.bid_usd_per_hour is not None,
            "price": self.bid_usd_per_hour,
            "start_date": self.created_at,
            "end_date": self.created_at + self.offer.duration,
            "uptime_mins": None if self.running_at is None else (now - self.running_at) / 60,
            "disk_space": self.disk_gb,
            "disk_usage": 0.0,
            "ssh_host": "127.0.0.1",
            "ssh_port": port,
            "ssh_idx": "1",
            "public_ipaddr": "127.0.0.1",
            "local_ipaddrs": "127.0.0.1\n",
            "ports": None,
            "image_uuid": self.image,
            "image_runtype": "ssh",
            "onstart": self.onstart,
            "extra_env": [[name, value] for name, value in self.env.items()],
            "gpu_util": 0.0,
            "gpu_temp": 40.0,
        }
