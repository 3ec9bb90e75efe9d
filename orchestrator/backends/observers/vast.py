"""Vast, through its own client (``vastai``): the instances of the account, their rate, state and age.

The fields are those of Vast's "show instances" reply. ``dph_total`` is dollars an hour with storage; a stopped
instance is billed for its disk alone, and is listed all the same. Must not create, change or end anything.
"""

from __future__ import annotations

import re
import time
from typing import Any

from orchestrator.backends.observers.names import own_name
from orchestrator.errors import MissingExtra
from orchestrator.run.events import Instance
from orchestrator.run.ports import PortError, Refused

_RENAMED = {"TeslaV100": "V100", "TeslaT4": "T4", "TeslaP100": "P100", "QRTX6000": "RTX6000", "QRTX8000": "RTX8000"}


class VastObserver:
    """The Observer port. ``api_key``: None takes the one that the client itself would take."""

    title = "Vast's list of instances"

    def __init__(self, api_key: str | None = None) -> None:
        self._api_key = api_key

    def instances(self, name: str) -> tuple[Instance, ...]:
        return tuple(instance for instance in self.everything() if instance.name == name)

    def everything(self) -> tuple[Instance, ...]:
        rows = self._rows()
        return tuple(listed(row, name, time.time()) for row in rows if (name := own_name(row.get("label"))) is not None)

    def ssh_address(self, name: str) -> tuple[str, int] | None:
        """(host, port) of the instance called ``name``, once Vast says them. Raises PortError."""
        for row in self._rows():
            if own_name(row.get("label")) == name and row.get("ssh_port"):
                direct = (row.get("ports") or {}).get("22/tcp") or []
                host = row.get("ssh_host") or row.get("public_ipaddr") or ""
                return str(host), int(direct[0]["HostPort"] if direct else row["ssh_port"])
        return None

    def _rows(self) -> list[dict[str, Any]]:
        try:
            from vastai import VastAI
        except ImportError as error:
            raise MissingExtra("looking at Vast", "sky") from error
        try:
            client = VastAI(self._api_key) if self._api_key else VastAI()
            return list(client.show_instances())
        except Exception as error:  # the client raises whatever its transport does; unknown is never "nothing there"
            if re.search(r"\b401\b|\b403\b|unauthori", str(error), re.IGNORECASE):
                raise Refused("Vast does not take the key that its own client finds on this machine") from error
            raise PortError(f"Vast did not say what exists: {type(error).__name__}: {_without_key(str(error))}") from error


def listed(row: dict[str, Any], name: str, now: float) -> Instance:
    """One row of Vast's reply. ``now``: unix seconds."""
    started_at = row.get("start_date")
    return Instance(
        name=name,
        id=str(row["id"]),
        ready=row.get("actual_status") == "running" and bool(row.get("ssh_port")),
        gpu=accelerator(str(row.get("gpu_name") or "")),
        count=int(row.get("num_gpus") or 0),
        usd_per_hour=float(row.get("dph_total") or 0.0),
        age_s=max(0.0, now - float(started_at)) if started_at else None,
        stopped=row.get("actual_status") in ("exited", "stopped"),
        machine=str(row.get("machine_id") or ""),
    )


def accelerator(gpu_name: str) -> str:
    """SkyPilot's name of a GPU that Vast calls ``gpu_name``. Source: ``sky/catalog/data_fetchers/fetch_vast.py``."""
    name = re.sub("Ada", "-Ada", re.sub(r"\s", "", gpu_name))
    name = re.sub(r"(Ti|PCIE|SXM4|SXM|NVL)$", "", name)
    name = re.sub(r"(RTX\d0\d0)(S|D)$", r"\1", name)
    return _RENAMED.get(name, name)


def _without_key(text: str) -> str:
    """The client's messages hold the address it asked; an older one puts the key there."""
    return re.sub(r"(api_key=)[^&\s]+", r"\1…", text)[:300]
