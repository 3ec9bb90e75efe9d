"""What is left of this week's GPU hours on Kaggle, asked of Kaggle's own command where there is one. Network.

``kaggle quota --format json`` (client 2.2.5) prints a list of rows: ``resource`` GPU or TPU, ``remaining`` such as ``27.50h``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

TIMEOUT_S = 10.0
_KEPT = ("access_token", "kaggle.json", "credentials.json")  # below ~/.kaggle; what is in them is Kaggle's command's business
_HOURS = re.compile(r"(\d+(?:\.\d+)?)h")


def gpu_hours_left() -> tuple[float | None, str]:
    """(hours or None, why they are not known)."""
    tool = shutil.which("kaggle")
    if tool is None:
        return None, "Kaggle's command is not installed (pip install kaggle)"
    named = os.environ.get("KAGGLE_API_TOKEN") or os.environ.get("KAGGLE_KEY")
    if not named and not any((Path.home() / ".kaggle" / name).is_file() for name in _KEPT):
        return None, "there is no Kaggle token on this machine"
    try:
        done = subprocess.run(
            [tool, "quota", "--format", "json"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, "Kaggle's command does not answer"
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1][:200]
        return None, f"Kaggle's command refuses: {said}"
    left = read_quota(done.stdout)
    return left, "" if left is not None else "Kaggle's command answered in another form than it used to"


def read_quota(text: str) -> float | None:
    """GPU hours left, from the command's answer; None when it is not in the form that is known."""
    try:
        rows = json.loads(text[text.index("[") :])  # a notice of a newer version may come first
        for row in rows:
            if row["resource"] == "GPU" and (match := _HOURS.fullmatch(row["remaining"])):
                return float(match[1])
    except (ValueError, KeyError, TypeError):
        return None
    return None
