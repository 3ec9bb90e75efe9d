"""Where cloudtune keeps things: the XDG folders, created 0700. Must not create anything until asked."""

from __future__ import annotations

import os
from pathlib import Path

APP = "cloudtune"


def _base(variable: str, default: str) -> Path:
    given = os.environ.get(variable, "")
    return (Path(given) if given.startswith("/") else Path.home() / default) / APP


def config_dir() -> Path:
    """User settings: ``config.yaml``."""
    return _base("XDG_CONFIG_HOME", ".config")


def state_dir() -> Path:
    """The ledger and what runs have brought home."""
    return _base("XDG_STATE_HOME", ".local/state")


def cache_dir() -> Path:
    """What can be made again: models, price files."""
    return _base("XDG_CACHE_HOME", ".cache")


def run_dir(run: str) -> Path:
    """Home of one run: lock, upload bundle, progress, checkpoints, adapter, receipt."""
    return state_dir() / "runs" / run


def private(folder: Path) -> Path:
    """Create a folder and its missing parents, readable by its owner only; return it."""
    missing = []
    current = folder
    while not current.exists():
        missing.append(current)
        current = current.parent
    for part in reversed(missing):
        part.mkdir(mode=0o700, exist_ok=True)
    return folder
