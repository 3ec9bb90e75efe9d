"""Offer: something that can be rented (or had for nothing), and the rate it costs. Pure data."""

from __future__ import annotations

from typing import Literal

import msgspec

# who ends the instance when nobody is watching, strongest first
Guard = Literal["create-time", "native", "account-key-on-host", "none"]


class Offer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One offer, exact enough to be rented without choosing again."""

    backend: str  # which Provider rents it: local, simulated, skypilot, ...
    cloud: str  # the provider's name as a person knows it
    region: str = ""
    instance_type: str = ""
    gpu: str = "CPU"
    count: int = 0  # GPUs; 0: none
    usable_gib: float = 0.0  # memory per GPU that torch can use
    usd_per_hour: float = 0.0
    spot: bool = False
    guard: Guard = "none"
    proof: Literal["observed", "unproved"] = "observed"
    as_of: str = ""  # ISO date of the price
    source: str = ""  # where the price comes from
    expected_s: float | None = None  # seconds the whole training is expected to take here; None: not estimated
    learned: float = 1.0  # the factor of earlier runs that is in expected_s already
    provisioning_s: float = 900.0  # longest wait until it is ready before it is given up

    @property
    def place(self) -> str:
        """Whose list shows it: the cloud, or one Slurm cluster (``slurm/rig``)."""
        return f"slurm/{self.region.partition('/')[0]}" if self.cloud == "slurm" else self.cloud

    @property
    def free(self) -> bool:
        """Nothing is charged for it, however long it runs."""
        return self.usd_per_hour == 0.0

    def title(self) -> str:
        """One line for a person: where, what, how much."""
        gpu = f"{self.gpu}×{self.count}" if self.count > 1 else self.gpu
        place = f"{self.cloud}/{self.region}" if self.region else self.cloud
        price = "$0" if self.free else f"${self.usd_per_hour:.3f}/h"
        return f"{place} {gpu} {price}{' spot' if self.spot else ''}"
