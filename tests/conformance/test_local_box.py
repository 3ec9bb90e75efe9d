"""What every backend's Provider, Observer and Remote must do, run on this machine's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.backends import local
from orchestrator.backends.home import HomeEscrow
from orchestrator.backends.local import LocalBox
from orchestrator.plan.offers import Offer
from orchestrator.run.ports import HashMismatch, PortError
from trainer.contract import CHECKPOINT_DIR, TrainerConfig, dump_config, write_manifest

OFFER = Offer(backend="local", cloud="local")
NAME = "ct-test-1"
WAIT_S = 20.0


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[LocalBox]:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "train.jsonl").write_text('{"text": "a"}\n')
    config = TrainerConfig(model="no/such-model", train_file="train.jsonl", out_dir="../work")
    (bundle / "config.json").write_text(dump_config(config))
    box = LocalBox(tmp_path / "boxes", bundle, tmp_path / "home")
    yield box
    box.destroy(NAME, ())
    assert not processes(tmp_path / "boxes" / NAME), "a process was left behind"


def processes(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(local.MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_nothing_is_listed_before_create(box: LocalBox, tmp_path: Path) -> None:
    assert box.instances(NAME) == ()


def test_create_is_listed_and_twice_is_once(box: LocalBox, tmp_path: Path) -> None:
    assert box.create(OFFER, NAME, None) == box.create(OFFER, NAME, None)
    (only,) = box.instances(NAME)
    assert (only.name, only.ready, only.usd_per_hour) == (NAME, True, 0.0)


def test_destroy_is_observed_and_twice_is_fine(box: LocalBox, tmp_path: Path) -> None:
    box.create(OFFER, NAME, None)
    box.destroy(NAME, ())
    assert box.instances(NAME) == ()
    box.destroy(NAME, ())


def test_destroy_ends_every_process_of_the_box(box: LocalBox, tmp_path: Path) -> None:
    box.create(OFFER, NAME, None)
    stray = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, local.MARK: str(tmp_path / "boxes" / NAME)}
    )
    eventually(lambda: processes(tmp_path / "boxes" / NAME) == [stray.pid])
    box.destroy(NAME, ())
    stray.wait(5)
    assert not processes(tmp_path / "boxes" / NAME) and box.instances(NAME) == ()


def test_an_unlisted_folder_with_a_living_process_is_still_listed(box: LocalBox, tmp_path: Path) -> None:
    stray = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, local.MARK: str(tmp_path / "boxes" / NAME)}
    )
    eventually(lambda: bool(processes(tmp_path / "boxes" / NAME)))
    assert len(box.instances(NAME)) == 1, "a process without its folder is not gone"
    box.destroy(NAME, ())
    stray.wait(5)


def test_the_box_ends_itself_at_its_deadline(box: LocalBox, tmp_path: Path) -> None:
    box.create(OFFER, NAME, 1.5)
    stray = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, local.MARK: str(tmp_path / "boxes" / NAME)}
    )
    assert len(box.instances(NAME)) == 1
    stray.wait(WAIT_S)
    eventually(lambda: box.instances(NAME) == ())


def test_upload_sends_once(box: LocalBox, tmp_path: Path) -> None:
    box.create(OFFER, NAME, None)
    files, sent_bytes = box.upload(NAME)
    assert files > 10 and sent_bytes > 10_000
    assert box.upload(NAME) == (0, 0)


def test_a_job_runs_to_its_last_word(box: LocalBox, tmp_path: Path) -> None:
    box.create(OFFER, NAME, None)
    box.upload(NAME)
    job = box.submit(NAME, None, None)
    assert box.submit(NAME, None, None) == job or box.poll(NAME, 0).result is not None
    eventually(lambda: box.poll(NAME, 0).result is not None)
    news = box.poll(NAME, 0)
    assert news.result is not None and news.result.exit_code == 4, "the model cannot be had"
    assert news.cursor == len(news.raw) and news.raw.endswith(b"\n")
    assert box.poll(NAME, news.cursor).raw == b""


def test_a_killed_supervisor_is_seen_as_lost(box: LocalBox, tmp_path: Path) -> None:
    box.create(OFFER, NAME, None)
    box.upload(NAME)
    box.submit(NAME, None, None)
    for pid in processes(tmp_path / "boxes" / NAME):
        os.kill(pid, 9)
    eventually(lambda: box.poll(NAME, 0).lost or box.poll(NAME, 0).result is not None)


def test_fetch_of_what_is_not_there_is_an_error(box: LocalBox, tmp_path: Path) -> None:
    box.create(OFFER, NAME, None)
    with pytest.raises(PortError, match="no adapter"):
        box.fetch(NAME, "adapter")


def test_a_fetched_checkpoint_is_verified_and_kept(box: LocalBox, tmp_path: Path) -> None:
    box.create(OFFER, NAME, None)
    for step in (3, 6, 9):
        folder = tmp_path / "boxes" / NAME / "work" / CHECKPOINT_DIR / f"step-{step}"
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(bytes([step]))
        write_manifest(folder)
    (folder / "weights").write_bytes(b"torn")  # the newest is not what its manifest says
    escrow = HomeEscrow(tmp_path / "home")
    parcel = box.fetch(NAME, "checkpoint")
    assert parcel.step == 6 and escrow.verify(parcel)
    escrow.keep(parcel)
    kept = escrow.checkpoint()
    assert kept is not None and (kept / "weights").read_bytes() == b"\x06"


def test_what_does_not_match_its_hash_is_refused(box: LocalBox, tmp_path: Path) -> None:
    box.create(OFFER, NAME, None)
    adapter = tmp_path / "boxes" / NAME / "work" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    write_manifest(adapter)
    parcel = box.fetch(NAME, "adapter")
    (parcel.place / "adapter_model.safetensors").write_bytes(b"Weights")
    escrow = HomeEscrow(tmp_path / "home")
    with pytest.raises(HashMismatch, match="does not match its hash"):
        escrow.verify(parcel)
    manifest = json.loads((parcel.place / "manifest.json").read_text())
    manifest["files"] = {"../../etc/passwd": {"sha256": "0" * 64, "bytes": 1}}
    (parcel.place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(HashMismatch, match="outside its folder"):
        escrow.verify(parcel)
