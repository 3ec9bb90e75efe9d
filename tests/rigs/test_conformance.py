"""The conformance suite of the ports (tests/conformance), run beside each rig, in its network namespace."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.rigs import VAST_HOME
from tests.rigs import test_vast_rig
from tests.rigs.vast.rig import VastRig

ROOT = Path(__file__).resolve().parents[2]
VAST_S = 420.0


def suite() -> list[str]:
    """The command that runs it."""
    argv = [sys.executable, "-m", "pytest", "tests/conformance/test_ports.py", "-x", "--allow-hosts=127.0.0.1,localhost", "-p", "no:xdist"]
    for ignored in ("pytest.PytestUnraisableExceptionWarning", "ResourceWarning"):  # vastai leaves its key file open
        argv += ["-W", f"ignore::{ignored}"]
    return argv


@pytest.mark.timeout(VAST_S + 30.0)
@pytest.mark.rig
@test_vast_rig.pytestmark[1]
def test_vast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", test_vast_rig.CACHE)
    with VastRig() as rig:
        rig.offers = [replace(offer, driver_version="580.65.06") for offer in rig.offers]
        home = rig.make_home(tmp_path / "home")
        sky = tmp_path / "sky"
        rig.image.seed_wheel(sky)
        said = rig.run(suite(), env={"HOME": str(home), VAST_HOME: str(sky)}, cwd=ROOT, timeout=VAST_S)
        assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-2000:]
        assert "passed" in said.stdout and "skipped" not in said.stdout
        assert [row for row in rig.truth() if row["ended_at"] is None] == []
