"""The conformance suite of the ports (tests/conformance), run beside each rig, in its network namespace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conformance.rigs import RUNPOD_HOME, VAST_HOME
from tests.rigs import test_vast_rig
from tests.rigs.runpod.rig import RunPodRig
from tests.rigs.vast.rig import VastRig

ROOT = Path(__file__).resolve().parents[2]
BOUND_S = 420.0


def suite() -> list[str]:
    """The command that runs it."""
    argv = [sys.executable, "-m", "pytest", "tests/conformance/test_ports.py", "-x", "--allow-hosts=127.0.0.1,localhost", "-p", "no:xdist"]
    for ignored in ("pytest.PytestUnraisableExceptionWarning", "ResourceWarning"):  # vastai leaves its key file open
        argv += ["-W", f"ignore::{ignored}"]
    return argv


@pytest.mark.timeout(BOUND_S + 30.0)
@pytest.mark.rig
@test_vast_rig.pytestmark[1]
@pytest.mark.parametrize(("kind", "variable"), [(VastRig, VAST_HOME), (RunPodRig, RUNPOD_HOME)])
def test_a_cloud(kind: type[VastRig | RunPodRig], variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", test_vast_rig.CACHE)
    with kind() as rig:
        rig.cloud.fit()
        home = rig.make_home(tmp_path / "home")
        sky = tmp_path / "sky"
        rig.image.seed_wheel(sky)
        said = rig.run(suite(), env={"HOME": str(home), variable: str(sky)}, cwd=ROOT, timeout=BOUND_S)
        assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-2000:]
        assert "passed" in said.stdout and "skipped" not in said.stdout
        assert [row for row in rig.truth() if row["ended_at"] is None] == []
