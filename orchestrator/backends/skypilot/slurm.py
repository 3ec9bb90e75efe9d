"""Slurm: the instance is a batch job, reached by an ``srun`` on the login node as soon as SkyPilot has set it up.

SkyPilot's own timer in the job ends it when nobody watches. A step of a job ends whatever it has started (under control
groups), so what must outlive its caller is an ``srun`` in the background of the login node (``Shell.detach``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.backends.login_node import on_login_node
from orchestrator.backends.observers.slurm import SlurmObserver
from orchestrator.backends.offers.slurm import partition_limit_s, prices
from orchestrator.backends.skypilot.client import SkyClient
from orchestrator.backends.skypilot.order import idle_minutes
from orchestrator.backends.skypilot.shell import Address, Shell
from orchestrator.plan.offers import Offer
from orchestrator.run.ports import PortError

FORGET_S = 60.0


class SlurmReach:
    """The Reach of one cluster."""

    def __init__(self, client: SkyClient, folder: Path, cluster: str) -> None:
        self.observer = SlurmObserver(cluster, prices(cluster))
        self._client = client
        self._folder = folder
        self._cluster = cluster
        self._shells: dict[str, Shell] = {}
        self._folders: dict[str, tuple[Shell, str]] = {}  # the instances' folders on the cluster, and how the login node is reached
        self._ended: set[str] = set()

    def limit_s(self, offer: Offer) -> float | None:
        return partition_limit_s(self._cluster, offer.region.partition("/")[2])

    def ends_at(self, timer_s: float | None) -> float | None:
        return None  # Slurm's own limit and SkyPilot's timer are both seconds

    def shell(self, name: str) -> Shell | None:
        if name not in self._shells:
            known = self._client.ask("reach", name=name)
            if known.get("status") != "UP":
                return None
            self._learn(name, known["attributes"])
        return self._shells[name]

    def _learn(self, name: str, runner: dict[str, Any]) -> None:
        """From SkyPilot's runner (``sky/utils/command_runner.py``, ``SlurmCommandRunner``) to a shell of ours."""
        try:
            job, node, sky_dir = str(runner["job_id"]), str(runner["slurm_node"]), str(runner["sky_dir"])
            step = ("srun", "--overlap", "--quiet", f"--jobid={job}", f"--nodelist={node}", "--nodes=1", "--ntasks=1")
            inside = (*step, "sh", "-c", 'cd "$0" && exec "$@"', sky_dir)
            address = {"host": str(runner["ip"]), "port": int(runner["port"] or 22), "user": str(runner["ssh_user"])}
            key = Path(str(runner["ssh_private_key"])).expanduser()
        except (KeyError, TypeError, ValueError) as error:
            raise PortError(f"SkyPilot's description of {name} has another form than it used to: {error!r}") from error
        hosts = self._folder / f"{self._cluster}.hosts"
        self._shells[name] = Shell(Address(key=key, through=inside, **address), hosts)  # type: ignore[arg-type]
        self._folders[name] = (Shell(Address(key=key, **address), hosts), sky_dir)  # type: ignore[arg-type]

    def arm(self, name: str, life_s: float, request: str) -> None:
        minutes = idle_minutes(life_s)
        said = self._client.ask("autostop", name=name, minutes=minutes)
        if said.get("minutes") != minutes:
            raise PortError(f"SkyPilot's timer on {name} is {said.get('minutes')} minutes, {minutes} were ordered")

    def end(self, name: str, ids: tuple[str, ...], request: str, made: Mapping[str, str]) -> None:
        jobs = [one for one in ids or tuple(instance.id for instance in self.observer.instances(name)) if one.isdecimal()]
        if jobs:
            on_login_node(self._cluster, ["scancel", *jobs], "did not take scancel")
        if not ids:
            if request and self._client.serving():
                with contextlib.suppress(PortError):  # it has ended already, as a rule
                    self._client.ask("cancel", request_id=request)
            self._ended.add(name)

    def close(self) -> None:
        """Remove what is left of ended instances, end the connections. Never raises: the jobs are ended already."""
        for name in self._ended:
            with contextlib.suppress(PortError):
                if self._client.serving():
                    self._client.ask("down", name=name, purge=True, bound_s=FORGET_S)
                if name in self._folders:
                    login, folder = self._folders[name]
                    login.run('rm -rf -- "$1"', folder)  # a cancelled job's own trap does not always get to it
        for shell in (*self._shells.values(), *(login for login, _ in self._folders.values())):
            shell.close()
