"""Lambda, through its REST API: the instances of the account, their rate and state.

The fields are those of "List running instances" (version 1 of the Cloud API). Lambda does not say when an instance was
made. It has no stopped instances and no spot; a terminated one bills nothing. Must not create, change or end anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.backends.observers.names import own_name
from orchestrator.backends.observers.replies import Key, ask
from orchestrator.run.events import Instance
from orchestrator.run.ports import PortError

API = "https://cloud.lambdalabs.com/api/v1"  # as SkyPilot: sky/provision/lambda_cloud/lambda_utils.py
KEY_FILE = "~/.lambda_cloud/lambda_keys"
TIMEOUT_S = 30.0
_GONE = ("terminated", "preempted")


class LambdaObserver:
    """The Observer port. ``api_key``: None takes the one that SkyPilot takes, from ``~/.lambda_cloud/lambda_keys``."""

    title = "Lambda's list of instances"

    def __init__(self, api_key: str | None = None, *, api: str = API, timeout_s: float = TIMEOUT_S) -> None:
        self._api_key, self._api, self._timeout_s = api_key, api, timeout_s

    def instances(self, name: str) -> tuple[Instance, ...]:
        return tuple(instance for instance in self.everything() if instance.name == name)

    def everything(self) -> tuple[Instance, ...]:
        key = _key_of_file() if self._api_key is None else Key(secret=self._api_key, source="Lambda's observer")
        reply = ask("Lambda", f"{self._api.rstrip('/')}/instances", key, timeout_s=self._timeout_s)
        try:
            rows = reply.document["data"]
            if not isinstance(rows, list):
                raise TypeError("data")
            ours = [(row, name) for row in rows if (name := own_name(row.get("name"))) is not None]
            return tuple(listed(row, name) for row, name in ours if row["status"] not in _GONE)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PortError(f"Lambda answered in another form than it used to: {type(error).__name__}") from error


def listed(row: dict[str, Any], name: str) -> Instance:
    """One row of Lambda's reply."""
    kind = row["instance_type"]
    count = int(kind["specs"]["gpus"])
    return Instance(
        name=name,
        id=str(row["id"]),
        ready=row["status"] == "active" and bool(row.get("ip")),
        gpu=accelerator(str(kind["name"])) if count else "",
        count=count,
        usd_per_hour=float(kind["price_cents_per_hour"]) / 100.0,
    )


def accelerator(instance_type: str) -> str:
    """SkyPilot's name of the GPU of ``instance_type``. Source: ``sky/catalog/data_fetchers/fetch_lambda_cloud.py``."""
    if instance_type == "gpu_8x_a100_80gb_sxm4":
        return "A100-80GB"
    parts = instance_type.split("_")
    return parts[2].upper() if len(parts) > 2 else instance_type


def _key_of_file() -> Key:
    """The line ``api_key = …`` of the key file."""
    try:
        lines = Path(KEY_FILE).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise PortError(f"no API key of Lambda: {KEY_FILE} cannot be read ({type(error).__name__})") from error
    found = [value.strip() for name, _, value in (line.partition("=") for line in lines) if name.strip() == "api_key"]
    if not found:
        raise PortError(f"no API key of Lambda: {KEY_FILE} has no line 'api_key = …'")
    return Key(secret=found[-1], source=KEY_FILE)
