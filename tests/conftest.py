"""For every test: no sockets (pytest-socket), and a home directory of its own; the real one must stay as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_REAL = [Path.home() / tail / "cloudtune" for tail in (".config", ".local/state", ".cache")]


def _stamp(folder: Path) -> float | None:
    return folder.stat().st_mtime if folder.exists() else None


@pytest.fixture(autouse=True, scope="session")
def real_home_untouched() -> Iterator[None]:
    before = [_stamp(folder) for folder in _REAL]
    yield
    assert [_stamp(folder) for folder in _REAL] == before, "a test touched the real home directory"


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable in [name for name in os.environ if name.startswith("CLOUDTUNE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return home
