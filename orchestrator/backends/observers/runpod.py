"""RunPod, through its GraphQL API: the pods of the account, their rate, state and age.

The fields are those of the type Pod in RunPod's GraphQL specification. RunPod's own package is not used: it brings a web
server, and imports for a second. Creates nothing; ends only what :func:`terminate` is given.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.backends.observers.names import own_name
from orchestrator.backends.observers.replies import Key, Reply, ask
from orchestrator.run.events import Instance
from orchestrator.run.ports import PortError

API = "https://api.runpod.io"
API_VARIABLE = "RUNPOD_API_BASE_URL"  # as RunPod's own client
KEY_FILE = "~/.runpod/config.toml"
KEY_VARIABLE = "RUNPOD_API_KEY"
TIMEOUT_S = 30.0
USD_PER_GB_MONTH = 0.10  # of a running pod's disks, beside the rate of its GPUs: docs.runpod.io/pods/pricing
STOPPED_USD_PER_GB_MONTH = 0.20  # a stopped pod's volume disk: docs.runpod.io/pods/storage/types
HOURS_A_MONTH = 730.0
QUERY = """query { myself { pods {
  id name desiredStatus createdAt costPerHr adjustedCostPerHr gpuCount volumeInGb containerDiskInGb
  machine { gpuDisplayName } runtime { ports { ip isIpPublic privatePort publicPort } }
} } }"""
TERMINATE = 'mutation { podTerminate(input: {podId: "%s"}) }'  # docs.runpod.io/sdks/graphql/manage-pods
_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")

_STOPPED = ("EXITED", "PAUSED", "DEAD")
_RENAMED = {"A100-PCIe": "A100-80GB", "A100-SXM": "A100-80GB-SXM", "H100-PCIe": "H100"}


class RunPodObserver:
    """The Observer port. ``api_key``: None takes the one of ``~/.runpod/config.toml``, then of ``RUNPOD_API_KEY``."""

    title = "RunPod's list of pods"

    def __init__(self, api_key: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self._api_key, self._timeout_s = api_key, timeout_s

    def instances(self, name: str) -> tuple[Instance, ...]:
        return tuple(instance for instance in self.everything() if instance.name == name)

    def everything(self) -> tuple[Instance, ...]:
        reply = self._asked()
        with _known_form():
            return tuple(listed(row, name, reply.now) for row, name in _ours(reply))

    def ssh_address(self, name: str) -> tuple[str, int] | None:
        """(host, port) of the pod called ``name``, once RunPod says them. Raises PortError."""
        reply = self._asked()
        with _known_form():
            for port in (port for row, shown in _ours(reply) if shown == name for port in _public_ssh(row)):
                return str(port["ip"]), int(port["publicPort"])
        return None

    def _asked(self) -> Reply:
        key = _found_key() if self._api_key is None else Key(secret=self._api_key, source="RunPod's observer")
        return _ask(key, QUERY, self._timeout_s)


def now() -> float:
    """RunPod's clock, unix seconds. Raises PortError."""
    return _ask(_found_key(), "query { myself { id } }", TIMEOUT_S).now


def terminate(pod_id: str) -> None:
    """Ask RunPod to end this pod; one that it does not know is no error. Raises PortError when the call was not taken."""
    if not _ID.match(pod_id):
        return  # RunPod has no such ids
    try:
        _ask(_found_key(), TERMINATE % pod_id, TIMEOUT_S)
    except PortError as error:
        if "not found" not in str(error).lower():
            raise


def address() -> str:
    """Where RunPod's API is asked."""
    return f"{(os.environ.get(API_VARIABLE) or API).rstrip('/')}/graphql"


def _ask(key: Key, query: str, timeout_s: float) -> Reply:
    reply = ask("RunPod", address(), key, body={"query": query}, timeout_s=timeout_s)
    errors = reply.document.get("errors") if isinstance(reply.document, dict) else None
    if errors:  # GraphQL says no with HTTP 200
        said = errors[0].get("message") if isinstance(errors, list) and isinstance(errors[0], dict) else errors
        raise PortError(f"RunPod did not do what it was asked, but says: {key.hide(str(said))}")
    return reply


@contextmanager
def _known_form() -> Iterator[None]:
    """What is read of a reply; a form that is not known is a PortError, and never "nothing there"."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PortError(f"RunPod answered in another form than it used to: {type(error).__name__}") from error


def _ours(reply: Reply) -> list[tuple[dict[str, Any], str]]:
    """cloudtune's own pods that are not gone, with cloudtune's name of each."""
    rows = reply.document["data"]["myself"]["pods"]
    if not isinstance(rows, list):
        raise TypeError("pods")
    ours = [(row, name) for row in rows if (name := own_name(row.get("name"))) is not None]
    return [(row, name) for row, name in ours if not _gone(row)]


def _public_ssh(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Where the pod's port 22 can be reached; [] as long as nowhere."""
    ports = (row.get("runtime") or {}).get("ports") or []
    return [port for port in ports if port["isIpPublic"] and port["privatePort"] == 22 and port["publicPort"]]


def _gone(row: dict[str, Any]) -> bool:
    """The status is the wanted one; what still has a runtime is still there."""
    return row["desiredStatus"] == "TERMINATED" and not row.get("runtime")


def listed(row: dict[str, Any], name: str, now: float) -> Instance:
    """One row of RunPod's reply. ``now``: unix seconds by RunPod's clock."""
    runtime = row.get("runtime") or {}
    stopped = row["desiredStatus"] in _STOPPED and not runtime
    return Instance(
        name=name,
        id=str(row["id"]),
        ready=row["desiredStatus"] == "RUNNING" and bool(_public_ssh(row)),
        gpu=accelerator(str((row.get("machine") or {}).get("gpuDisplayName") or "")),
        count=int(row["gpuCount"] or 0),
        usd_per_hour=_stopped_rate(row) if stopped else _rate(row),
        age_s=_age_s(row.get("createdAt"), now),
        stopped=stopped,
    )


def _rate(row: dict[str, Any]) -> float:
    """Dollars an hour with disks, after savings plans; before them where RunPod does not say, or says 0."""
    disks_gb = float(row.get("containerDiskInGb") or 0.0) + float(row.get("volumeInGb") or 0.0)
    gpus = float(row.get("adjustedCostPerHr") or 0.0) or float(row["costPerHr"])
    return gpus + disks_gb * USD_PER_GB_MONTH / HOURS_A_MONTH


def _stopped_rate(row: dict[str, Any]) -> float:
    """``costPerHr`` is the rate of a running pod; a stopped one is billed for its volume disk."""
    return float(row.get("volumeInGb") or 0.0) * STOPPED_USD_PER_GB_MONTH / HOURS_A_MONTH


def _age_s(made: str | None, now: float) -> float | None:
    """Seconds since ``made``: ``2026-01-02T03:04:05.678Z``, or as Go prints it, ``2026-01-02 03:04:05.678 +0000 UTC``."""
    try:
        at = datetime.fromisoformat((made or "").removesuffix(" UTC").replace(" +", "+"))
    except ValueError:
        return None
    return max(0.0, now - (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def accelerator(display_name: str) -> str:
    """SkyPilot's name of a GPU that RunPod calls ``display_name``. Source: ``sky/catalog/data_fetchers/fetch_runpod.py``."""
    name = display_name.replace("RTX PRO ", "RTXPRO").replace("RTX ", "RTX").replace(" ", "-")
    return _RENAMED.get(name, name)


def _found_key() -> Key:
    """As RunPod's client and SkyPilot take it: the default profile of the file, then the variable."""
    path = Path(KEY_FILE).expanduser()
    try:
        profile = tomllib.loads(path.read_text(encoding="utf-8")).get("default") if path.is_file() else None
        found = profile.get("api_key") if isinstance(profile, dict) else None
    except (OSError, ValueError):  # its text may quote the file
        raise PortError(f"no API key of RunPod: {KEY_FILE} cannot be read or is not TOML") from None
    if isinstance(found, str) and found:
        return Key(secret=found, source=KEY_FILE)
    if os.environ.get(KEY_VARIABLE):
        return Key(secret=os.environ[KEY_VARIABLE], source=KEY_VARIABLE)
    raise PortError(f"no API key of RunPod: {KEY_FILE} has none under [default], and {KEY_VARIABLE} is not set")
