"""The timer in the create call: the instance ends itself at an instant, whatever happens to the laptop or SkyPilot.

Vast: carried by ``config.vast.create_instance_kwargs.onstart_cmd`` (``sky/provision/vast/utils.py``: it runs after
SkyPilot's own lines). RunPod: in front of SkyPilot's start command, put there by ``repair_runpod.py``. The script is
``life_CLOUD.sh`` and ``life.sh``; its deadline lies in a file, so that a reboot keeps it and the laptop can set it anew
over SSH. The instance's key never stands in a process list. Pure but for reading the script.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Literal

ONSTART_LIMIT = 4048  # characters that Vast takes; SkyPilot's own lines and its public key need about 1,100 of them
ENDS_AT = "$HOME/.cloudtune-ends-at"  # on the instance: unix seconds by its own clock


def onstart_command(life_s: float) -> str:
    """The shell line of Vast's create call. ``life_s``: seconds from the first boot until the instance ends itself."""
    return _started("vast", f"$(($(date +%s)+{max(1, int(life_s))}))")


def start_command(ends_at: float) -> str:
    """The shell line in front of RunPod's. ``ends_at``: unix seconds. An instant: a pod that was stopped has lost the file."""
    return _started("runpod", str(int(ends_at)))


def _started(cloud: Literal["vast", "runpod"], instant: str) -> str:
    here = Path(__file__).parent
    script = base64.b64encode((here / f"life_{cloud}.sh").read_bytes() + (here / "life.sh").read_bytes()).decode()
    run = f"setsid sh /tmp/.cloudtune-life.sh {instant} </dev/null >/tmp/.cloudtune-life.log 2>&1 &"
    return f"echo {script}|base64 -d>/tmp/.cloudtune-life.sh;{run}"


def arm_command(life_s: float) -> str:
    """The shell line that sets the end anew, sooner or later, ``life_s`` seconds from now; atomic."""
    return f'echo $(($(date +%s)+{max(0, int(life_s))}))>"{ENDS_AT}.new"&&mv "{ENDS_AT}.new" "{ENDS_AT}"'
