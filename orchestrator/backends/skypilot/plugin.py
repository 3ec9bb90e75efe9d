"""Loaded by cloudtune's own SkyPilot server: repairs of what would cost the user money or show a key. Nothing else.

The order's particulars travel in variables that begin with ``SKYPILOT_``, which SkyPilot hands from the client's
request to the process that serves it (``sky/server/requests/payloads.py``, ``request_body_env_vars``).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from sky.server import plugins

from orchestrator.backends.skypilot.order import CLOUD
from orchestrator.backends.skypilot.repair_runpod import repair_runpod
from orchestrator.backends.skypilot.repair_vast import repair_vast
from orchestrator.backends.skypilot.worker import reread_price_lists

# clouds on whose instances the account's key is left, for the order that CLOUD names
NEEDS_KEY = frozenset({"lambda", "aws", "gcp", "azure"})  # whose own end, set by SkyPilot, is carried out with it


class Repairs(plugins.BasePlugin):  # type: ignore[misc]
    """The plugin that ``plugins.yaml`` names."""

    def install(self, extension_context: Any) -> None:
        """Called in every process of the server. Idempotent."""
        keep_keys_home()
        reread_price_lists()
        for client, repair in (("vastai", repair_vast), ("runpod", repair_runpod)):
            if importlib.util.find_spec(client) is not None:  # else nothing is rented there from this machine
                repair(importlib.import_module(client))


def keep_keys_home() -> None:
    """Of the credentials that SkyPilot would upload, only those of the order's own cloud, and only where they are needed."""
    from sky import check
    from sky.utils import registry

    if getattr(check.get_cloud_credential_file_mounts, "cloudtune", False):
        return

    def mounts(excluded_clouds: Any = None) -> dict[str, str]:
        wanted = os.environ.get(CLOUD, "")
        if wanted not in NEEDS_KEY:
            return {}
        cloud = registry.CLOUD_REGISTRY.from_str(wanted)
        found = cloud.get_credential_file_mounts() if cloud is not None else {}
        return {there: str(Path(here).expanduser().resolve()) for there, here in found.items() if Path(here).expanduser().exists()}

    mounts.cloudtune = True  # type: ignore[attr-defined]
    check.get_cloud_credential_file_mounts = mounts
