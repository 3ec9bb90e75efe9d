"""From one offer to SkyPilot's task: everything pinned, nothing left to choose. And what SkyPilot's refusals mean. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.backends.offers.hosts import HostRules
from orchestrator.backends.skypilot.client import SkyError
from orchestrator.backends.skypilot.life import onstart_command
from orchestrator.backends.skypilot.pricelist import ANYWHERE
from orchestrator.plan.budget import HOUR_S
from orchestrator.plan.offers import Offer
from orchestrator.run.ports import NoCapacity, PortError, Refused

RATE_CAP = "SKYPILOT_CLOUDTUNE_RATE_CAP"  # $/h, storage included; read by the plugin in the server
CLOUD = "SKYPILOT_CLOUDTUNE_CLOUD"
ENDS_AT = "SKYPILOT_CLOUDTUNE_ENDS_AT"  # unix seconds by the cloud's clock: the instance's own end, where it must be an instant
HOSTS = "SKYPILOT_CLOUDTUNE_HOSTS"  # JSON: machines that failed us, and for how long a host must be rentable; read by the plugin
MINUTE_S = 60.0
YEAR_MINUTES = 365 * 24 * 60
_NO_CAPACITY = re.compile(
    r"could not find an offer|no capacity|capacity|not available|unavailable|out of stock|no longer available|"
    r"failed to acquire resources|insufficient|already rented|no_such_ask",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"credential|api.?key|unauthori[sz]ed|\b401\b|\b403\b|forbidden|permission|not enabled|cloud access|quota|limit exceeded|"
    r"insufficient (credit|funds|balance)|lacks credit|invalid|a bid of|account's key",
    re.IGNORECASE,
)


def task(offer: Offer, name: str, disk_gib: float, timer_s: float | None, longest_s: float | None = None) -> dict[str, Any]:
    """SkyPilot's YAML of an instance without work: no workdir, no setup, no run.

    ``timer_s``: its own end, from its start, where the create call carries one. ``longest_s``: what Slurm itself ends the job
    after, from before SkyPilot's timer is set: a limit that can be lowered later and never raised.
    """
    resources: dict[str, Any] = {"cloud": offer.cloud, "use_spot": offer.spot, "disk_size": math.ceil(disk_gib)}
    if offer.cloud == "slurm":
        cluster, _, partition = offer.region.partition("/")
        resources |= {"region": cluster} | ({"zone": partition} if partition else {})
    elif offer.cloud == "runpod":
        resources |= {"region": offer.region or ANYWHERE, "zone": ANYWHERE}
    elif offer.region:
        resources["region"] = offer.region
    if offer.instance_type:
        resources["instance_type"] = offer.instance_type
    if offer.count:
        resources["accelerators"] = {offer.gpu: offer.count}
    asked: dict[str, Any] = {"name": name, "num_nodes": 1, "resources": resources}
    if offer.cloud == "vast" and timer_s is not None:
        asked["config"] = {"vast": {"create_instance_kwargs": {"onstart_cmd": onstart_command(timer_s)}}}
    if offer.cloud == "slurm" and longest_s is not None:
        asked["config"] = {"slurm": {"sbatch_options": {"time": str(max(1, math.floor(longest_s / MINUTE_S)))}}}
    return asked


def longest_s(offer: Offer, cap_usd: float | None, deadline_s: float | None, limit_s: float | None) -> float | None:
    """The longest that an instance of this offer may live at all, seconds, by money, deadline and the place's own limit; None: no bound."""
    bounds = [bound for bound in (deadline_s, limit_s) if bound is not None]
    if cap_usd is not None and not offer.free:
        bounds.append(cap_usd / offer.usd_per_hour * HOUR_S)
    return min(bounds, default=None)


def variables(offer: Offer, tolerance: float, rules: HostRules, ends_at: float | None = None) -> dict[str, str]:
    """What the plugin must know of the order.

    ``tolerance``: the share by which the rate may exceed the offer's; ``rules``: which hosts will do; ``ends_at``: the
    instance's own end, unix seconds by the cloud's clock, where the create call needs an instant.
    """
    known = {RATE_CAP: repr(offer.usd_per_hour * (1.0 + tolerance)), CLOUD: offer.cloud}
    if offer.cloud == "vast":
        known[HOSTS] = json.dumps({"struck": sorted(rules.struck), "duration_s": rules.duration_s})
    return known if ends_at is None else known | {ENDS_AT: repr(ends_at)}


def rate_cap(variables: Mapping[str, str]) -> float | None:
    """The highest rate of an order, $/h, from what :func:`variables` gave; None: none."""
    given = variables.get(RATE_CAP)
    return float(given) if given else None


def host_rules(given: str | None) -> HostRules:
    """The rules that an order's variable holds; what is asked of every host where it holds none. Raises ValueError."""
    known = json.loads(given) if given else {}
    return HostRules(struck=frozenset(known.get("struck", ())), duration_s=float(known.get("duration_s", HostRules.duration_s)))


def idle_minutes(life_s: float | None) -> int:
    """SkyPilot's own timer for a life of so many seconds: whole minutes, down; it fires up to one later. None: a year."""
    return YEAR_MINUTES if life_s is None else max(1, math.floor(life_s / MINUTE_S))


def refusal(error: SkyError) -> PortError:
    """The engine's word for what SkyPilot raised when nothing was made."""
    if error.kind in ("NoCloudAccessError", "PermissionError", "ValueError", "TypeError", "InvalidSkyPilotConfigError") or _REFUSED.search(
        str(error)
    ):
        return Refused(str(error))
    if error.kind == "ResourcesUnavailableError" or _NO_CAPACITY.search(str(error)):
        return NoCapacity(str(error))
    return PortError(str(error))
