"""``cloudtune run`` on the RunPod rig, and from one cloud to the other: rented through the real SkyPilot, trained, home, gone, and billed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.desk import RentingDesk
from tests.rigs.machines.rig import Rig
from tests.rigs.runpod.rig import RunPodCloud
from tests.rigs.test_run_on_vast import BOUND_S, receipt, server_processes
from tests.rigs.test_vast_rig import CACHE, pytestmark  # noqa: F401 - the marks are this module's too
from tests.rigs.vast.rig import VastCloud
from tests.trainer.trainer_rig import tiny_model  # noqa: F401 - a fixture
from trainer.contract import verify_manifest


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Both clouds beside one user."""
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    with Rig(VastCloud, RunPodCloud) as rig:
        for cloud in rig.clouds.values():
            cloud.fit()
        yield rig


def assert_settled(rig: Rig, document: dict[str, object], cap_usd: float) -> None:
    """Nothing is left, by the clouds' own books; and the money is in order."""
    assert [row for row in rig.truth() if row["ended_at"] is None] == []
    assert rig.bill_usd() <= float(str(document["billed_usd"])) <= cap_usd, (rig.bill_usd(), document)


def test_one_command_rents_a_pod_trains_and_leaves_nothing(rig: Rig, tmp_path: Path, tiny_model: Path) -> None:  # noqa: F811
    desk = RentingDesk(rig, tmp_path, tiny_model)
    said = desk.cloudtune("run", "--budget", "5", "--infra", "runpod", "-o", "json", bound_s=BOUND_S)
    assert said.returncode == 0, said.stdout + said.stderr
    document = receipt(said)
    assert_settled(rig, document, 5.0)
    [pod] = rig.truth()
    assert pod["cloud"] == "runpod" and "4090" in pod["gpu_name"] and pod["ended_by"] == "account"
    assert pod["terminate_after"], "the create call carried the end"
    assert "adapter_model.safetensors" in verify_manifest(desk.job / "out/adapter")
    assert server_processes(desk) == []
    key = rig.clouds["runpod"].api_key.encode()
    held = [path for path in desk.state.rglob("*") if path.is_file() and not path.is_symlink() and key in path.read_bytes()]
    assert [path for path in held if ".runpod" not in str(path)] == [], "the account's key is where it was"


def test_what_vast_has_no_room_for_runpod_gets(rig: Rig, tmp_path: Path, tiny_model: Path) -> None:  # noqa: F811
    rig.clouds["vast"].misbehave(no_capacity=True)
    desk = RentingDesk(rig, tmp_path, tiny_model)
    said = desk.cloudtune("run", "--budget", "5", "--infra", "vast,runpod", "-o", "json", bound_s=BOUND_S)
    assert said.returncode == 0, said.stderr
    document = receipt(said)
    assert_settled(rig, document, 5.0)
    assert [(one["offer"].split("/")[0].split()[0], one["reason"]) for one in document["attempts"]][-1] == ("runpod", "completed")
    assert {one["reason"] for one in document["attempts"][:-1]} == {"no_capacity"}, json.dumps(document["attempts"])
    assert [row["cloud"] for row in rig.truth()] == ["runpod"]
