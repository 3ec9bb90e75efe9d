"""The conformance suite of the ports on a real Slurm: SkyPilot's timers count minutes there, so it takes twelve."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.rigs import SLURM_HOME
from tests.rigs import test_slurm_sky
from tests.rigs.slurm.rig import SlurmRig
from tests.rigs.test_conformance import ROOT, suite

SLURM_S = 900.0


@pytest.mark.timeout(SLURM_S + 60.0)
@pytest.mark.rig
@test_slurm_sky.pytestmark[1]
def test_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", test_slurm_sky.CACHE)
    with SlurmRig(cgroups=True) as rig:
        (tmp_path / "home").mkdir()
        rig.make_home(tmp_path / "home")
        env = {"HOME": str(tmp_path / "home"), SLURM_HOME: str(tmp_path / "sky"), "XDG_STATE_HOME": str(tmp_path / "state")}
        said = rig.run([*suite(), "--durations=5"], env=env, cwd=ROOT, timeout=SLURM_S)
        assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-2000:]
        assert "passed" in said.stdout and "skipped" not in said.stdout
        assert [job for job in rig.truth() if job.end_s is None] == []
