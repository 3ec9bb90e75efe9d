"""The box side inside a real instance of the rig: it installs from wheels, trains, and what comes home matches its hashes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.bundle import code_root
from tests.rigs.machines.image import HOME
from tests.rigs.test_vast_rig import CACHE, Client, pytestmark  # noqa: F401 - the marks are this module's too
from tests.rigs.vast.rig import VastRig
from tests.trainer.trainer_rig import tiny_model  # noqa: F401 - a fixture
from trainer.contract import ExitCode, TrainerConfig, dump_config, verify_manifest

BOUND_S = 240.0
BOX = f"{HOME}/cloudtune/ct-0a1b2c-00000001-1"


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[VastRig]:
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    with VastRig() as rig:
        yield rig


def upload(client: Client, row: dict[str, Any], folder: Path) -> None:
    """A tar stream over ssh, as a laptop would send it."""
    options = ["-i", str(client.home / "key"), "-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={client.home}/known"]
    packed = subprocess.run(["tar", "-C", str(folder), "-cf", "-", "."], check=True, capture_output=True).stdout
    ssh = ["ssh", *options, "-p", str(row["ssh_port"]), f"root@{row['ssh_host']}", f"mkdir -p {BOX} && tar -C {BOX} -xf -"]
    assert client.rig.run(ssh, input=packed, text=False).returncode == 0


def job(folder: Path, model: Path) -> None:
    """What is uploaded: the trainer, the rows, the config, the model."""
    subprocess.run(["cp", "-r", str(code_root() / "trainer"), str(folder / "trainer")], check=True)
    (folder / "job").mkdir()
    rows = [
        {"prompt": "review good film sentiment", "completion": "positive"},
        {"prompt": "review dull plot", "completion": "negative"},
    ] * 8
    (folder / "job/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = TrainerConfig(model="the/uploaded-one", train_file="train.jsonl", out_dir="../work", save_steps=2)
    (folder / "job/config.json").write_text(dump_config(replace(config, training=replace(config.training, max_steps=4, max_length=32))))
    (folder / "job/box.json").write_text(json.dumps({"gpus": 1, "disk_gib": 1.0, "model": ""}))
    (folder / "job/submit.json").write_text(json.dumps({"stop_in_s": 600.0, "resume": ""}))
    subprocess.run(["cp", "-r", str(model), str(folder / "model")], check=True)


def last_word(client: Client, row: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + BOUND_S
    while True:
        said = client.ssh(row, f"cat {BOX}/work/result.json")
        if said.returncode == 0:
            return dict(json.loads(said.stdout))
        log = client.ssh(row, f"cat {BOX}/supervisor.log {BOX}/work/*.log {BOX}/work/progress.jsonl").stdout[-3000:]
        assert time.monotonic() < deadline, log
        time.sleep(1)


def start(client: Client, row: dict[str, Any]) -> None:
    command = f"CLOUDTUNE_BOX_MAY_TRAIN_ON_CPU=1 setsid nohup sh {BOX}/trainer/start.sh {BOX} >{BOX}/supervisor.log 2>&1 </dev/null &"
    assert client.ssh(row, command).returncode == 0


def started(rig: VastRig, folder: Path, model: Path) -> tuple[Client, dict[str, Any]]:
    """A rented instance on which the job has been uploaded and started."""
    client = Client(rig, folder / "home")
    row = client.await_status(client.rent(disk=8), "running")
    (folder / "upload").mkdir()
    job(folder / "upload", model)
    upload(client, row, folder / "upload")
    start(client, row)
    return client, row


def test_it_trains_and_the_adapter_matches_its_hashes(rig: VastRig, tmp_path: Path, tiny_model: Path) -> None:  # noqa: F811
    rig.cloud.fit()
    client, row = started(rig, tmp_path, tiny_model)
    start(client, row)  # twice is once
    result = last_word(client, row)
    assert (result["exit_code"], result.get("steps")) == (ExitCode.DONE, 4), result
    progress = client.ssh(row, f"cat {BOX}/work/progress.jsonl").stdout
    lines = [json.loads(line) for line in progress.splitlines()]
    assert [line["name"] for line in lines if line["kind"] == "phase"].count("installing") == 1, "two starts are one job"
    assert any("cu130.lock" in line.get("text", "") for line in lines)
    packed = client.ssh(row, f"tar -C {BOX}/work/adapter -cf - . | base64").stdout
    home = tmp_path / "adapter"
    home.mkdir()
    unpacked = subprocess.run(["sh", "-c", 'base64 -d | tar -C "$0" -xf -', str(home)], input=packed.encode(), check=False)
    assert unpacked.returncode == 0 and "adapter_model.safetensors" in verify_manifest(home)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"has_gpu": False}, "no nvidia-smi"), ({"driver_version": "470.82.01"}, "too old")],
)
def test_an_unfit_machine_is_named_before_anything_is_installed(
    rig: VastRig,
    tmp_path: Path,
    tiny_model: Path,  # noqa: F811
    change: dict[str, Any],
    said: str,
) -> None:
    rig.offers = [replace(offer, **change) for offer in rig.offers]
    client, row = started(rig, tmp_path, tiny_model)
    result = last_word(client, row)
    assert result["exit_code"] == ExitCode.UNFIT_BOX and said in result["reason"]
    assert client.ssh(row, f"ls -d {BOX}/env/lib/python3*/site-packages/torch").returncode != 0
