"""The conformance suite of the ports (tests/conformance), run beside each rig, in its network namespace."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.rigs import VAST_HOME
from tests.rigs.test_vast_rig import CACHE, pytestmark  # noqa: F401 - the marks are this module's too
from tests.rigs.vast.rig import VastRig

ROOT = Path(__file__).resolve().parents[2]
BOUND_S = 420.0


@pytest.mark.timeout(BOUND_S + 30.0)
def test_vast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    with VastRig() as rig:
        rig.offers = [replace(offer, driver_version="580.65.06") for offer in rig.offers]
        home = rig.make_home(tmp_path / "home")
        sky = tmp_path / "sky"
        rig.image.seed_wheel(sky)
        suite = [
            sys.executable,
            "-m",
            "pytest",
            "tests/conformance/test_ports.py",
            "-x",
            "--allow-hosts=127.0.0.1,localhost",
            "-p",
            "no:xdist",
            "-W",
            "ignore::pytest.PytestUnraisableExceptionWarning",  # vastai leaves its key file open
            "-W",
            "ignore::ResourceWarning",
        ]
        said = rig.run(suite, env={"HOME": str(home), VAST_HOME: str(sky)}, cwd=ROOT, timeout=BOUND_S)
        assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-2000:]
        assert "passed" in said.stdout and "skipped" not in said.stdout
        assert [row for row in rig.truth() if row["ended_at"] is None] == []
