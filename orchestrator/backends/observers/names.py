"""From the name that a cloud shows back to cloudtune's own. Pure.

SkyPilot calls an instance ``<cluster name>-<8 hex digits of the user>`` (``sky/utils/common_utils.py``,
``make_cluster_name_on_cloud``), and adds ``-head`` on Vast, RunPod and Lambda. On AWS that name, without ``-head``, is
in two tags; the tag ``Name`` is changed later on, and is not read (``sky/provision/{vast,runpod,lambda_cloud,aws}/instance.py``).
"""

from __future__ import annotations

import re

_ON_CLOUD = re.compile(r"^(ct-[0-9a-f]{6}-[0-9a-f]{8}-[0-9]+)(?:-[0-9a-f]{8}(?:-head)?)?$")


def own_name(shown: str | None) -> str | None:
    """cloudtune's name of an instance that a cloud shows under ``shown``; None: it is not one of cloudtune's."""
    found = _ON_CLOUD.match(shown or "")
    return found[1] if found else None
