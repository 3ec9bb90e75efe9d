"""A pod: what was ordered, what it truly costs, and how the API shows it. Pure: the caller says the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.rigs.machines.rental import Rental
from tests.rigs.runpod.market import HOURS_PER_MONTH, GpuType

# docs.runpod.io/pods/pricing: billed by the second; container and volume disk of a running pod, and the volume of a stopped one, by the
# GB and month. Assumed: the GPUs are billed from the create call on (before the container runs), and costPerHr has no disk in it.
BILLED = {"loading", "running"}
DISK_USD_PER_GB_MONTH = 0.10
STOPPED_USD_PER_GB_MONTH = 0.20
_DESIRED = {"loading": "RUNNING", "running": "RUNNING", "exited": "EXITED", "destroyed": "TERMINATED"}


@dataclass(kw_only=True)
class Pod(Rental):
    """One pod that was ever created."""

    id: str
    gpu: GpuType  # what was delivered
    asked_gpu: str
    gpu_count: int
    cloud: str
    data_center: str
    name: str
    image: str
    docker_args: str
    env: dict[str, str]
    ports: str
    container_disk_gb: float
    volume_gb: float
    volume_path: str
    bid_usd_per_gpu: float | None  # None: on demand
    template_id: str | None
    terminate_after: float | None
    stop_after: float | None
    changed_by: str = "Rented by User"

    @property
    def gpu_usd_per_hour(self) -> float:
        each = self.gpu.price(self.cloud) if self.bid_usd_per_gpu is None else self.bid_usd_per_gpu
        return (each or 0.0) * self.gpu_count * self.rate_factor

    def bill_usd(self, now: float) -> float:
        """GPUs and disks while it is to run, the volume while it is stopped; by the second, unrounded."""
        running, stopped = self.seconds_in(BILLED, now), self.seconds_in({"exited"}, now)
        disk = (self.container_disk_gb + self.volume_gb) * DISK_USD_PER_GB_MONTH / HOURS_PER_MONTH
        kept = self.volume_gb * STOPPED_USD_PER_GB_MONTH / HOURS_PER_MONTH
        return (running * (self.gpu_usd_per_hour + disk) + stopped * kept) / 3600

    def truth(self, now: float) -> dict[str, Any]:
        return super().truth(now) | {
            "label": self.name,
            "gpu_name": self.gpu.id,
            "asked_gpu": self.asked_gpu,
            "num_gpus": self.gpu_count,
            "place": self.data_center,
            "secure": self.cloud == "SECURE",
            "spot": self.bid_usd_per_gpu is not None,
            "gpu_usd_per_hour": self.gpu_usd_per_hour,
            "disk_gb": self.container_disk_gb,
            "volume_gb": self.volume_gb,
            "terminate_after": self.terminate_after,
            "gpu_billed_s": self.seconds_in(BILLED, now),
        }

    def row(self, port: int, now: float) -> dict[str, Any]:
        """The pod as the API shows it: fields of the type Pod that runpod-python, SkyPilot or the Observer ask for."""
        up = self.status == "running"
        last = self.history[-1][0]
        return {
            "id": self.id,
            "name": self.name,
            "desiredStatus": _DESIRED[self.status],
            "createdAt": datetime.fromtimestamp(self.created_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "lastStatusChange": f"{self.changed_by}: {datetime.fromtimestamp(last, UTC):%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)",
            "costPerHr": self.gpu_usd_per_hour,
            "adjustedCostPerHr": self.gpu_usd_per_hour,
            "gpuCount": self.gpu_count,
            "vcpuCount": self.gpu.vcpus * self.gpu_count,
            "memoryInGb": self.gpu.ram_gb * self.gpu_count,
            "containerDiskInGb": int(self.container_disk_gb),
            "volumeInGb": int(self.volume_gb),
            "volumeMountPath": self.volume_path,
            "imageName": self.image,
            "dockerArgs": self.docker_args,
            "dockerId": None,
            "env": [f"{name}={value}" for name, value in self.env.items()],
            "ports": self.ports,
            "port": None,
            "podType": "RESERVED" if self.bid_usd_per_gpu is None else "INTERRUPTABLE",
            "templateId": self.template_id,
            "containerRegistryAuthId": None,
            "machineId": f"m{self.id}",
            "machine": {"gpuDisplayName": self.gpu.display_name, "podHostId": f"{self.id}-1", "dataCenterId": self.data_center},
            "uptimeSeconds": int(now - last) if up else 0,
            "runtime": {"uptimeInSeconds": int(now - last), "ports": self._ports(port)} if up else None,
        }

    def _ports(self, port: int) -> list[dict[str, Any]]:
        """Of what was ordered only 22/tcp is reachable; the web ones have the provider's inner address, as in the documentation's example."""
        shown = []
        for wanted in filter(None, self.ports.split(",")):
            number, _, kind = wanted.partition("/")
            public = kind == "tcp"
            if public and number != "22":
                continue
            where = {"ip": "127.0.0.1", "publicPort": port} if public else {"ip": "127.0.0.1", "publicPort": 60000 + int(number) % 1000}
            shown.append({**where, "isIpPublic": public, "privatePort": int(number), "type": kind})
        return shown
