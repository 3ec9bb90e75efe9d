"""RunPod, SkyPilot 0.14.1 with runpod 1.x: the end of a pod in the call that makes it, no rate above the offer's, any place.

SkyPilot's create call can carry no end: here a timer stands in front of its start command, which ends the pod by the
pod's own key (``life_runpod.sh``), and RunPod is told the same instant (``terminateAfter``; runpodctl's own flag for it
was withdrawn as unreliable, which is why both are there).
"""

from __future__ import annotations

import functools
import os
import re
from datetime import UTC, datetime
from typing import Any

from orchestrator.backends.skypilot.life import start_command
from orchestrator.backends.skypilot.notes import create_call
from orchestrator.backends.skypilot.order import ENDS_AT, rate_cap
from orchestrator.backends.skypilot.pricelist import ANYWHERE

POLL_S = 2  # SkyPilot asks every 5 s whether a pod is ready; all of them are billed
SERVERS_GRACE_S = 60  # RunPod's own end comes after the timer's
_START = "bash -c '"  # how SkyPilot's start command begins (``sky/provision/runpod/utils.py``)


def repair_runpod(runpod: Any) -> None:
    """Wrap the two calls that make a pod. ``runpod``: the imported package."""
    from runpod.api.mutations import pods
    from sky.provision.runpod import instance
    from sky.provision.runpod.api import commands

    if getattr(runpod.create_pod, "cloudtune", False):
        return
    instance.POLL_INTERVAL = POLL_S
    on_demand, spot, mutation = runpod.create_pod, commands.create_spot_pod, pods.generate_pod_deployment_mutation

    @functools.wraps(on_demand)
    def create_pod(**asked: Any) -> Any:
        asked = bounded(asked, _ends_at())
        if asked.get("gpu_type_id"):
            refuse_dearer(runpod.get_gpu(asked["gpu_type_id"], asked["gpu_count"]), asked, rate_cap(os.environ))
        with create_call(os.environ) as call:
            made = on_demand(**asked)
            call.note("made", id=made["id"])
            return made

    @functools.wraps(spot)
    def create_spot_pod(bid_per_gpu: Any, **asked: Any) -> Any:
        cap, bid = rate_cap(os.environ), float(bid_per_gpu)
        if not 0.0 < bid * asked["gpu_count"] <= (cap or float("inf")):
            raise RuntimeError(f"a bid of {bid} $/h is refused: it must be above 0 and at most the offer's rate")
        with create_call(os.environ) as call:
            made = spot(bid_per_gpu=bid, **bounded(asked, _ends_at()))
            call.note("made", id=made["id"])
            return made

    @functools.wraps(mutation)
    def generate_pod_deployment_mutation(*arguments: Any, **named: Any) -> str:
        return with_end(mutation(*arguments, **named), _ends_at())

    generate = commands.generate_spot_pod_deployment_mutation
    commands.generate_spot_pod_deployment_mutation = functools.wraps(generate)(
        lambda *arguments, **named: with_end(generate(*arguments, **named), _ends_at())
    )
    pods.generate_pod_deployment_mutation = generate_pod_deployment_mutation
    create_pod.cloudtune = True  # type: ignore[attr-defined]
    runpod.create_pod, commands.create_spot_pod = create_pod, create_spot_pod


def bounded(asked: dict[str, Any], ends_at: float | None) -> dict[str, Any]:
    """SkyPilot's arguments with the timer in front of its start command, and without a place that is no place."""
    changed: dict[str, Any] = {key: None for key in ("country_code", "data_center_id") if asked.get(key) == ANYWHERE}
    if ends_at is not None:
        start = str(asked.get("docker_args") or "")
        if not start.startswith(_START):
            raise RuntimeError("SkyPilot's start command of a pod is not the one that cloudtune knows, so nothing is rented")
        changed["docker_args"] = f"{_START}{start_command(ends_at)} {start.removeprefix(_START)}"
    return asked | changed


def with_end(mutation: str, ends_at: float | None) -> str:
    """The GraphQL text that makes a pod, with ``terminateAfter``. RuntimeError where its form is another than expected."""
    if ends_at is None:
        return mutation
    at = datetime.fromtimestamp(ends_at + SERVERS_GRACE_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found, times = re.subn(r"(input:\s*\{)", rf'\1 terminateAfter: "{at}",', mutation, count=1)
    if times != 1:
        raise RuntimeError("the call that makes a pod is not the one that cloudtune knows, so nothing is rented")
    return found


def refuse_dearer(listed: dict[str, Any], asked: dict[str, Any], cap: float | None) -> None:
    """RuntimeError when RunPod's own list says that this GPU costs more than ``cap`` $/h now."""
    price = listed.get("securePrice" if asked.get("cloud_type") == "SECURE" else "communityPrice")
    if cap is not None and price and float(price) * asked["gpu_count"] > cap:
        raise RuntimeError(f"could not find an offer within {cap:.3f} $/h: RunPod asks {price} $/h a GPU")


def _ends_at() -> float | None:
    given = os.environ.get(ENDS_AT)
    return float(given) if given else None
