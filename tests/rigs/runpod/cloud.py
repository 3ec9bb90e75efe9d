"""The emulated RunPod behind its API: GPU types, pods, machines, timers. Knows nothing of HTTP."""

from __future__ import annotations

import secrets
import shlex
import string
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from tests.rigs.machines import faults, nvidia
from tests.rigs.machines.machine import AS_COMMAND, Machine
from tests.rigs.machines.provider import STAND_IN, Provider, Refused
from tests.rigs.runpod import market
from tests.rigs.runpod.market import COMMUNITY, SECURE, GpuType
from tests.rigs.runpod.pod import BILLED, Pod

API_PORT = 8898  # of the emulated API, in the rig's namespace and, through a socket, in every pod's own
NO_INSTANCES = "There are no longer any instances available with the requested specifications. Please refresh and try again."
NO_GPUS = "There are not enough free GPUs on the host machine to start this pod."
# What the provider's own images run when no other command is ordered: start.sh of github.com/runpod/containers, without Jupyter.
IMAGE_START = """
if [ -n "$PUBLIC_KEY" ]; then
  mkdir -p ~/.ssh; echo "$PUBLIC_KEY" >> ~/.ssh/authorized_keys; chmod 700 ~/.ssh; service ssh start
fi
exec sleep infinity
"""
Order = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Faults(faults.Faults):
    """RunPod's own beside those of every cloud. wrong_gpu is a gpuTypeId; CALL: keys are templates and registry logins too."""

    timers_ignored: bool = False  # terminateAfter and stopAfter are accepted, and nothing comes of them


class Cloud(Provider[Pod]):
    """One account's view of RunPod."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.gpus: list[GpuType] = list(market.DEFAULT)
        self.public_keys = ""
        self.templates: dict[str, dict[str, Any]] = {}  # by name
        self.logins: dict[str, str] = {}  # registry logins: id -> name

    @staticmethod
    def no_faults() -> Faults:
        return Faults()

    # --- what is there

    def gpu(self, gpu_id: str | None) -> GpuType | None:
        return next((gpu for gpu in self.gpus if gpu.id == gpu_id), None)

    def free(self, gpu: GpuType, cloud: str, place: str) -> int:
        where = (gpu.id, cloud, place)
        pods = [pod for pod in self.rentals.values() if (pod.asked_gpu, pod.cloud, pod.data_center) == where and pod.status in BILLED]
        return gpu.free - sum(pod.gpu_count for pod in pods)

    def most_free(self, gpu: GpuType, data_center: str | None = None, country_code: str | None = None) -> dict[str, int]:
        """Cloud -> GPUs that are free in the best of the data centres asked for. One pod never spans two."""
        best: dict[str, int] = {}
        if self.faults.no_capacity:
            return best
        for cloud, place in market.places(gpu, clouds=(SECURE, COMMUNITY), data_center=data_center, country_code=country_code):
            best[cloud] = max(best.get(cloud, 0), self.free(gpu, cloud, place))
        return best

    # --- what a client can ask for

    def create(self, order: Order) -> Pod:
        """Rent GPUs. The machine boots in the background. Refused when nowhere is enough free, or the bid is too low."""
        with self.lock:
            template = next((one for one in self.templates.values() if one["id"] == order.get("templateId")), None)
            order = {**({} if template is None else template), **{name: value for name, value in order.items() if value is not None}}
            gpu, count = self.gpu(order.get("gpuTypeId")), int(order.get("gpuCount") or 1)
            if gpu is None or self.faults.no_capacity or count > gpu.max_count:
                raise Refused(200, "no_instances", NO_INSTANCES)
            if (order.get("minVcpuCount") or 0) > gpu.vcpus * count or (order.get("minMemoryInGb") or 0) > gpu.ram_gb * count:
                raise Refused(200, "no_instances", NO_INSTANCES)
            asked = order.get("cloudType") or "ALL"
            clouds = (SECURE, COMMUNITY) if asked == "ALL" else (asked,)
            found = market.places(gpu, clouds=clouds, data_center=order.get("dataCenterId"), country_code=order.get("countryCode"))
            bid = order.get("bidPerGpu")
            for cloud, place in found:
                lowest = gpu.price(cloud, spot=True)
                if self.free(gpu, cloud, place) >= count and (bid is None or (lowest is not None and bid >= lowest)):
                    return self._rent(gpu, count, cloud, place, order)
            raise Refused(200, "no_instances", NO_INSTANCES)

    def _rent(self, gpu: GpuType, count: int, cloud: str, place: str, order: Order) -> Pod:
        now, other = time.time(), self.gpu(self.faults.wrong_gpu)
        pod = Pod(
            id="".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(14)),
            key=f"pod-{secrets.token_hex(16)}",
            gpu=gpu if other is None else replace(gpu, id=other.id, display_name=other.display_name, memory_gb=other.memory_gb),
            asked_gpu=gpu.id,
            gpu_count=count,
            cloud=cloud,
            data_center=place,
            name=order.get("name") or "",
            image=order.get("imageName") or "",
            docker_args=order.get("dockerArgs") or "",
            env={one["key"]: one["value"] for one in order.get("env") or []},
            ports=order.get("ports") or "",
            container_disk_gb=float(order.get("containerDiskInGb") or 10),
            volume_gb=float(order.get("volumeInGb") or 0),
            volume_path=order.get("volumeMountPath") or "/workspace",
            bid_usd_per_gpu=order.get("bidPerGpu"),
            template_id=order.get("templateId"),
            terminate_after=order.get("terminateAfter"),
            stop_after=order.get("stopAfter"),
            rate_factor=self.faults.rate_factor,
            created_at=now,
            history=[(now, "loading")],
        )
        self.add(pod, self._machine(pod, public_keys=self.public_keys if order.get("startSsh") else ""))
        self._at(pod.terminate_after, pod, lambda: self.end(pod, "timer"))
        self._at(pod.stop_after, pod, lambda: self._exit(pod, "Exited by Runpod"))
        return pod

    def _machine(self, pod: Pod, public_keys: str) -> Machine:
        gpu, base = pod.gpu, f"http://127.0.0.1:{API_PORT}"
        stand_in = {**STAND_IN, "RUNPOD_API_BASE_URL": base, "RUNPOD_API_URL": f"{base}/graphql"}
        # docs.runpod.io/pods/templates/environment-variables. They are in the environment of the pod's command, not of an ssh session.
        given = {
            "RUNPOD_POD_ID": pod.id,
            "RUNPOD_API_KEY": pod.key,
            "RUNPOD_DC_ID": pod.data_center,
            "RUNPOD_POD_HOSTNAME": f"{pod.id}-1",
            "RUNPOD_GPU_COUNT": str(pod.gpu_count),
            "RUNPOD_CPU_COUNT": str(gpu.vcpus * pod.gpu_count),
            "RUNPOD_PUBLIC_IP": "127.0.0.1",
            "PUBLIC_KEY": public_keys,
        }
        card = nvidia.Gpu(
            name=gpu.id, count=pod.gpu_count, memory_mib=gpu.memory_gb * 1024, driver_version=gpu.driver_version, cuda=gpu.cuda
        )
        return Machine(
            folder=self.folder / pod.id,
            baked=self.baked,
            api_socket=self.api_socket,
            api_port=API_PORT,
            hostname=pod.id,
            disk_gib=pod.container_disk_gb if gpu.writable_gib is None else gpu.writable_gib,
            volume_gib=pod.volume_gb,
            volume_path=pod.volume_path,
            gpu=card if gpu.has_gpu else None,
            boot_s=gpu.boot_s,
            env={**pod.env, **given, **stand_in},
            session_env=stand_in,
            # Docker takes the words, and no shell sees them; a command that ends is started again.
            onstart=f"exec {shlex.join(shlex.split(pod.docker_args))}" if pod.docker_args.strip() else IMAGE_START,
            then=AS_COMMAND,
            own_sshd=True,
            authorized_keys=[],
            on_ready=lambda: self.ready(pod),
            log=self.log,
        )

    def row(self, pod: Pod) -> dict[str, Any]:
        return pod.row(self.machines[pod.id].port, time.time())

    def stop(self, pod_id: str) -> Pod:
        """The processes end, the container disk is gone, the GPUs are free for others; the volume stays and is billed."""
        with self.lock:
            pod = self.find(pod_id)
            self._exit(pod, "Exited by User")
            return pod

    def _exit(self, pod: Pod, why: str) -> None:
        self.machines[pod.id].renew()
        pod.changed_by = why
        pod.turn("exited", time.time())

    def interrupted(self, rental: Pod) -> None:
        self._exit(rental, "Exited by Runpod")

    def resume(self, pod_id: str, gpu_count: int | None, bid: float | None) -> Pod:
        """Start a stopped pod, in the place where it was. Refused when its GPUs have gone to somebody else."""
        with self.lock:
            pod, count = self.find(pod_id), gpu_count
            if pod.status in BILLED:
                return pod
            gpu = self.gpu(pod.asked_gpu)
            if gpu is None or self.faults.no_capacity or self.free(gpu, pod.cloud, pod.data_center) < (count or pod.gpu_count):
                raise Refused(200, "no_gpus", NO_GPUS)
            pod.gpu_count = count or pod.gpu_count
            pod.bid_usd_per_gpu = pod.bid_usd_per_gpu if bid is None else bid
            pod.changed_by = "Resumed by User"
            pod.turn("loading", time.time())
            if not self.faults.never_ready:
                self.machines[pod.id].boot()
            return pod

    # --- timers

    def _at(self, when: float | None, pod: Pod, then: Callable[[], None]) -> None:
        """Carry out a terminateAfter or stopAfter. One that lies in the past is accepted and never comes (runpodctl, pull request 331)."""
        if when is None or when <= time.time():
            return

        def due() -> None:
            with self.lock:
                if pod.ended_at is None and not self.faults.timers_ignored:  # type: ignore[attr-defined]
                    then()

        timer = threading.Timer(when - time.time(), due)
        timer.daemon = True
        timer.start()

    # --- the side door

    def act(self, do: str, arguments: dict[str, Any]) -> Any:
        if do != "gpus":
            return super().act(do, arguments)
        with self.lock:
            if "set" in arguments:
                self.gpus = [GpuType(**{**one, "data_centers": tuple(one["data_centers"])}) for one in arguments["set"]]
            return [asdict(gpu) for gpu in self.gpus]


def seconds(text: object) -> float:
    """Unix seconds of an RFC 3339 time. ValueError for anything else: a duration ("1h") is none (runpodctl, pull request 330)."""
    refusal = f"DateTime cannot represent an invalid date-time-string {text}."
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        raise ValueError(refusal) from None
    if at.tzinfo is None:
        raise ValueError(refusal)
    return at.timestamp()
