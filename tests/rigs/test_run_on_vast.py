"""``cloudtune run`` as a person types it, with the real SkyPilot, on the rig's marketplace: rented, trained, home, gone, and billed.

The bill is the emulator's own, by its own clock; the receipt is cloudtune's. The first may never exceed the second, nor the second the cap.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.desk import RentingDesk
from tests.rigs.test_vast_rig import CACHE, pytestmark  # noqa: F401 - the marks are this module's too
from tests.rigs.vast.rig import VastRig
from tests.trainer.trainer_rig import tiny_model  # noqa: F401 - a fixture
from trainer.contract import verify_manifest

BOUND_S = 200.0


def receipt(said: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert said.stdout.startswith("{"), said.stdout + said.stderr
    return dict(json.loads(said.stdout))


def assert_settled(rig: VastRig, document: dict[str, Any], cap_usd: float) -> None:
    """Nothing is left, by the cloud's own books; and the money is in order."""
    assert [row for row in rig.truth() if row["ended_at"] is None] == []
    assert rig.bill_usd() <= document["billed_usd"] <= cap_usd, (rig.bill_usd(), document["billed_usd"])
    assert document["teardown"]["instances_left"] == 0


def assert_no_key_outside(desk: RentingDesk) -> None:
    """The account's key is in no file that cloudtune or SkyPilot has written."""
    key = desk.rig.api_key.encode()
    held = [path for path in desk.state.rglob("*") if path.is_file() and not path.is_symlink() and key in path.read_bytes()]
    assert [path for path in held if ".config/vastai" not in str(path)] == []


def server_processes(desk: RentingDesk) -> list[str]:
    """Processes whose home is cloudtune's SkyPilot home, once they have had a moment."""
    deadline = time.monotonic() + 10.0
    while (found := _processes(desk)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _processes(desk: RentingDesk) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"HOME={desk.state / 'skypilot'}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                said = (entry / "cmdline").read_text()
                found += [] if "subprocess_daemon" in said else [said[:200]]  # SkyPilot's reapers, which end themselves after 30 s
        except OSError:
            continue
    return found


def test_one_command_rents_trains_and_leaves_nothing(rig: VastRig, tmp_path: Path, tiny_model: Path) -> None:  # noqa: F811
    desk = RentingDesk(rig, tmp_path, tiny_model)
    sky_before = {path: path.stat().st_mtime_ns for path in (desk.home / ".sky").rglob("*")}
    said = desk.cloudtune("run", "--budget", "5", "--infra", "vast", "-o", "json", bound_s=BOUND_S)
    assert said.returncode == 0, said.stderr
    document = receipt(said)
    assert_settled(rig, document, 5.0)
    [instance] = rig.truth()
    assert (instance["gpu_name"], instance["num_gpus"], instance["offer_id"]) == ("RTX 4090", 1, 102), "the cheapest of what was asked for"
    assert instance["ended_by"] == "account"
    assert "adapter_model.safetensors" in verify_manifest(desk.job / "out/adapter")
    assert document["teardown"]["observer"] == "Vast's list of instances"
    assert_no_key_outside(desk)
    assert sky_before == {path: path.stat().st_mtime_ns for path in (desk.home / ".sky").rglob("*")}, "the user's own is not touched"
    assert server_processes(desk) == []
    assert "account-" not in said.stderr + said.stdout + rig.log()


def test_a_dry_run_asks_the_market_and_rents_nothing(rig: VastRig, tmp_path: Path, tiny_model: Path) -> None:  # noqa: F811
    desk = RentingDesk(rig, tmp_path, tiny_model)
    said = desk.cloudtune("run", "--budget", "5", "--infra", "vast", "--dry-run", "-o", "json", bound_s=BOUND_S)
    document = receipt(said)
    assert said.returncode == 0 and document["at_most_usd"] == 5.0 and document["reserve_usd"] > 0.0 and document["upload_bytes"]
    assert document["plan"]["offers"][0]["cloud"] == "vast" and rig.truth() == []


def test_a_machine_that_is_listed_late_is_not_forgotten(rig: VastRig, tmp_path: Path, tiny_model: Path) -> None:  # noqa: F811
    """SkyPilot gives up on what it has just made, because the cloud does not know it yet; cloudtune knows its id."""
    rig.misbehave(late_s=6.0)
    desk = RentingDesk(rig, tmp_path, tiny_model)
    said = desk.cloudtune("run", "--budget", "5", "--infra", "vast", "-o", "json", bound_s=BOUND_S)
    assert said.returncode == 0, said.stderr
    assert_settled(rig, receipt(said), 5.0)
    assert len(rig.truth()) == 1, "it was used, not left and made again"


def test_another_gpu_than_ordered_is_ended_and_the_next_offer_taken(rig: VastRig, tmp_path: Path, tiny_model: Path) -> None:  # noqa: F811
    desk = RentingDesk(rig, tmp_path, tiny_model)
    rig.misbehave(wrong_gpu="A100 SXM4")
    process = desk.start("run", "--budget", "5", "--infra", "vast", "-o", "json")
    deadline = time.monotonic() + BOUND_S
    while not rig.truth():
        assert time.monotonic() < deadline and process.poll() is None, desk.output()
        time.sleep(0.1)
    rig.misbehave(wrong_gpu=None)
    assert process.wait(BOUND_S) == 0, desk.output()
    document = desk.receipt()
    assert [a["reason"] for a in document["attempts"]] == ["mismatch", "completed"]
    first = rig.truth()[0]
    assert first["gpu_billed_s"] < 30.0, "found before anything was sent"
    struck = json.loads((desk.state / "strikes.json").read_text())
    assert len(struck) == 1 and next(iter(struck)).startswith("vast/4") and "another GPU" in next(iter(struck.values()))["why"]
    assert_settled(rig, document, 5.0)


def test_a_controller_killed_in_training_goes_on_with_the_same_instance(rig: VastRig, tmp_path: Path, tiny_model: Path) -> None:  # noqa: F811
    desk = RentingDesk(rig, tmp_path, tiny_model, epochs=40, save_steps=5)
    process = desk.start("run", "--budget", "5", "--infra", "vast")
    deadline = time.monotonic() + BOUND_S
    while "step " not in desk.output() and "scoring" not in desk.output() and "before training" not in desk.output():
        assert time.monotonic() < deadline and process.poll() is None, desk.output()
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    said = desk.cloudtune("run", "--budget", "5", "--infra", "vast", "-o", "json", bound_s=BOUND_S)
    assert said.returncode == 0, said.stderr
    assert len(rig.truth()) == 1, "the same instance, found again"
    assert_settled(rig, receipt(said), 5.0)
    assert server_processes(desk) == []


def test_what_is_wrong_with_the_credential_is_said_before_anything_costs(rig: VastRig, tmp_path: Path, tiny_model: Path) -> None:  # noqa: F811
    desk = RentingDesk(rig, tmp_path, tiny_model)
    key = desk.home / ".config/vastai/vast_api_key"
    key.write_text("not-the-key")
    wrong = desk.cloudtune("run", "--budget", "5", "--infra", "vast", bound_s=BOUND_S)
    assert wrong.returncode == 2 and "does not take the credential" in wrong.stderr and "not-the-key" not in wrong.stderr, wrong.stderr
    key.unlink()
    missing = desk.cloudtune("run", "--budget", "5", "--infra", "vast", bound_s=BOUND_S)
    assert missing.returncode == 2 and "vast_api_key" in missing.stderr
    unbudgeted = desk.cloudtune("run", "--infra", "vast", bound_s=BOUND_S)
    assert unbudgeted.returncode == 2
    assert rig.truth() == []


@pytest.mark.parametrize(
    ("change", "said"), [({"has_gpu": False}, "no nvidia-smi"), ({"driver_version": "525.60.13", "writable_gib": 4.0}, "too small")]
)
def test_a_machine_that_cannot_do_it_is_named_ended_and_not_paid_for(
    rig: VastRig,
    tmp_path: Path,
    tiny_model: Path,  # noqa: F811
    change: dict[str, Any],
    said: str,
) -> None:
    rig.offers = [replace(offer, **change) for offer in rig.offers if offer.id == 102]
    desk = RentingDesk(rig, tmp_path, tiny_model)
    ended = desk.cloudtune("run", "--budget", "5", "--infra", "vast", "-o", "json", bound_s=BOUND_S)
    assert ended.returncode not in (0, 2) and said in ended.stdout + ended.stderr, ended.stderr
    assert_settled(rig, receipt(ended), 5.0)
    assert all(row["gpu_billed_s"] < 40.0 for row in rig.truth())
