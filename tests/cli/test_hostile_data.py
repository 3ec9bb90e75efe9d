"""Inputs that want to break the checker: bounded in memory and time, named, exit 2, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEN_GB = 10 * 10**9
MAX_RSS_KIB = 500_000


def check(folder: Path, dataset: str) -> tuple[int, str, int, float]:
    """(exit code, what was said, peak memory in KiB, seconds) of the command in a process of its own."""
    (folder / "cloudtune.yaml").write_text(json.dumps({"model": "m", "dataset": dataset}))
    program = (
        "import resource, sys\nfrom orchestrator.cli.app import main\nsys.argv = ['cloudtune', 'check', '--offline']\ntry:\n    main()\n"
        "finally:\n    print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # a small process in between: the peak of a child begins at its parent's size
    spawn = [
        sys.executable,
        "-c",
        "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)",
        sys.executable,
        "-c",
        program,
    ]
    done = subprocess.run(spawn, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    peak = int(said.rpartition("peak ")[2].split()[0]) if "peak " in said else 0
    return done.returncode, said, peak // (1 if sys.platform == "linux" else 1024), time.monotonic() - started


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d.txt"])
@pytest.mark.parametrize("start", [b'{"prompt": "' + b"a" * 2_000_000, b"[" + b'"a' * 1_000_000], ids=["object", "list"])
def test_a_line_of_ten_gigabytes(tmp_path: Path, name: str, start: bytes) -> None:
    with open(tmp_path / name, "wb") as handle:
        handle.write(start)
        handle.truncate(TEN_GB)  # sparse: takes no room on the disk
    code, said, peak_kib, seconds = check(tmp_path, name)
    assert code == 2 and name in said and "Traceback" not in said, said
    assert 0 < peak_kib < MAX_RSS_KIB and seconds < 60, (peak_kib, seconds)


@pytest.mark.parametrize("name", ["d.jsonl", "d.json"])
@pytest.mark.parametrize("depth", [1000, 1_000_000])
def test_json_very_deep(tmp_path: Path, name: str, depth: int) -> None:
    deep = '{"prompt": "film", "completion": "good", "meta": ' + "[" * depth + "]" * depth + "}"
    (tmp_path / name).write_text(deep + "\n" if name.endswith("l") else f"[{deep}]")
    code, said, *_ = check(tmp_path, name)
    assert code == 2 and f"{name}:1: " in said and "nested too deeply" in said and "Traceback" not in said, said[-500:]


def test_ways_out_and_what_is_no_data(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("prompt,completion\nhunter2,swordfish\n")
    folder = tmp_path / "job"
    (folder / "links").mkdir(parents=True)
    (folder / "links/train.csv").symlink_to(secret)
    with zipfile.ZipFile(folder / "climbs.zip", "w") as archive:
        archive.writestr("../../train.csv", "prompt,completion\na,b\n")
    (folder / "login.csv").write_text("<!DOCTYPE html><html><title>Sign in</title></html>")
    (folder / "pointer.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    for dataset, words in (
        ("links", "leads out"),
        ("climbs.zip", "climbs out"),
        ("login.csv", "web page (perhaps a login)"),
        ("pointer.csv", "Git LFS pointer"),
    ):
        code, said, *_ = check(folder, dataset)
        assert code == 2 and words in said and dataset in said, said
        assert "hunter2" not in said and "Traceback" not in said
    assert secret.exists() and not (tmp_path.parent / "train.csv").exists()
