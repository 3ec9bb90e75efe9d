"""Which marketplace hosts are worth renting: verified, reliable, fast enough, with drivers that run the trainer. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Host:
    """What a marketplace says of one host's offer."""

    machine: str  # the marketplace's id of the machine
    verified: bool
    reliability: float  # share of time it was up, 0 to 1
    down_mbit: float
    driver: int  # NVIDIA driver's major version
    cuda: float  # newest CUDA its driver runs
    duration_s: float  # for how long it can be rented at most


@dataclass(frozen=True, kw_only=True)
class HostRules:
    """What is asked of a host."""

    reliability: float = 0.95
    down_mbit: float = 128.0  # below, downloads cost more than they save
    driver: int = 525  # the first that runs CUDA 12
    cuda: float = 12.4  # of the oldest wheels that the box installs
    duration_s: float = 86400.0  # or the job's deadline, if that is longer
    struck: Collection[str] = ()  # machines that failed us


def host_problem(host: Host, rules: HostRules) -> str | None:
    """Why a host is left out, or None."""
    if host.machine in rules.struck:
        return "failed an earlier run"
    if not host.verified:
        return "not verified"
    if host.reliability < rules.reliability:
        return f"reliability under {rules.reliability:.0%}"
    if host.down_mbit < rules.down_mbit:
        return f"downloads slower than {rules.down_mbit:.0f} Mbit/s"
    if host.driver < rules.driver or host.cuda < rules.cuda:
        return f"driver older than {rules.driver}, or CUDA older than {rules.cuda}"
    if host.duration_s < rules.duration_s:
        return "can be rented for too short a time"
    return None
