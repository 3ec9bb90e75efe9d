"""What was rented, for how long, and what it truly costs: the rig's own truth, which no client can change. Pure: the caller says the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.rigs.vast.market import HOURS_PER_MONTH, Offer

# GPU_BILLED: "Storage charges begin at creation. GPU charges only begin once the status reaches running" (vastai 1.9.1, SKILL.md).
GPU_BILLED = {"running"}


@dataclass(kw_only=True)
class Contract:
    """One instance that was ever created. Times are seconds since the epoch."""

    id: int
    key: str  # the instance's own key
    offer: Offer  # what was delivered
    asked_offer: int
    label: str | None
    image: str | None
    onstart: str
    env: dict[str, str]
    disk_gb: float
    bid_usd_per_hour: float | None  # None: on demand
    rate_factor: float  # 1.0, or what a misbehaving host charges more
    created_at: float
    status: str = "loading"
    intended: str = "running"
    running_at: float | None = None
    ended_at: float | None = None
    ended_by: str | None = None  # account | instance | provider
    history: list[tuple[float, str]] = field(default_factory=list)

    def turn(self, status: str, now: float) -> None:
        """Go over to a status; what was billed until now stays."""
        self.history.append((now, status))
        self.status = status
        if status == "running" and self.running_at is None:
            self.running_at = now

    def end(self, by: str, now: float) -> None:
        self.turn("destroyed", now)
        self.ended_at, self.ended_by = now, by

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
        end = now if self.ended_at is None else self.ended_at
        marks = [*self.history, (end, "end")]
        return sum(later - at for (at, status), (later, _) in pairwise(marks) if status in GPU_BILLED)

    def bill_usd(self, now: float) -> float:
        """Storage from creation to the end, the GPUs while running; by the second, unrounded."""
        end = now if self.ended_at is None else self.ended_at
        return ((end - self.created_at) * self.storage_usd_per_hour + self.gpu_billed_s(now) * self.gpu_usd_per_hour) / 3600

    def truth(self, now: float) -> dict[str, Any]:
        return {
            "id": self.id,
            "label": self.label,
            "offer_id": self.asked_offer,
            "gpu_name": self.offer.gpu_name,
            "num_gpus": self.offer.num_gpus,
            "status": self.status,
            "created_at": self.created_at,
            "running_at": self.running_at,
            "ended_at": self.ended_at,
            "ended_by": self.ended_by,
            "dph_total": self.dph_total,
            "disk_gb": self.disk_gb,
            "gpu_billed_s": self.gpu_billed_s(now),
            "bill_usd": self.bill_usd(now),
            "history": [list(mark) for mark in self.history],
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
