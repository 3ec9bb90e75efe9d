"""``cloudtune run`` on a real Slurm, through the real SkyPilot: a job is rented, trains, its adapter comes home, nothing is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rigs.desk import RentingDesk
from tests.rigs.slurm.rig import SlurmRig
from tests.rigs.test_slurm_sky import CACHE, pytestmark  # noqa: F401 - the marks are this module's too
from tests.trainer.trainer_rig import tiny_model  # noqa: F401 - a fixture
from trainer.contract import verify_manifest

BOUND_S = 240.0


def test_one_command_rents_trains_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:  # noqa: F811
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    with SlurmRig(cgroups=True) as rig:
        desk = RentingDesk(rig, tmp_path, tiny_model, gpu="T4")
        said = desk.cloudtune("run", "--budget", "5", "--infra", "slurm/rig", "-o", "json", bound_s=BOUND_S)
        assert said.returncode == 0, said.stderr
        document = json.loads(said.stdout)
        (job,) = (job for job in rig.truth() if job.name.startswith("ct-"))
        assert (job.gpu, job.gpus) == ("T4", 1)
        assert job.end_s is not None and job.bill_usd <= document["billed_usd"] <= 5.0, (job, document["billed_usd"])
        assert [one for one in rig.truth() if one.end_s is None] == []
        assert document["teardown"] | {"confirmed_at": ""} == {
            "confirmed_at": "",
            "observer": "the jobs of Slurm cluster rig",
            "instances_left": 0,
        }
        assert "adapter_model.safetensors" in verify_manifest(desk.job / "out/adapter")
        assert [path.name for path in (rig.folder / "login").glob(".sky_clusters/*")] == [], "nothing of the user's stays on the cluster"
