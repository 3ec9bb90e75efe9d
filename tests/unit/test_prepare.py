"""What a rented box does before it trains: the machine is looked at, and the right lock file is chosen."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.backends.bundle import code_root
from trainer.contract import ExitCode
from trainer.errors import UnfitBoxError
from trainer.prepare import LINES, Machine, choose_line, parse_smi


@pytest.mark.parametrize(
    ("name", "driver", "lock"),
    [
        ("NVIDIA GeForce RTX 4090", "580.65.06", "cu130.lock"),
        ("NVIDIA GeForce RTX 4090", "550.54.14", "cu126.lock"),
        ("Tesla T4", "590.1", "cu130.lock"),
        ("Tesla P100-PCIE-16GB", "580.65.06", "cu126.lock"),
        ("Tesla V100-SXM2-16GB", "580.65.06", "cu126.lock"),
        ("NVIDIA A100-SXM4-80GB", "525.60.13", "cu126.lock"),
    ],
)
def test_the_newest_line_that_driver_and_card_take(name: str, driver: str, lock: str) -> None:
    assert choose_line(Machine(names=(name,), driver=driver)).lock == lock


@pytest.mark.parametrize("driver", ["470.82.01", "524.99", "N/A", ""])
def test_a_driver_too_old_for_every_line_is_named(driver: str) -> None:
    with pytest.raises(UnfitBoxError, match="too old"):
        choose_line(Machine(names=("Tesla T4",), driver=driver))


def test_smi_output() -> None:
    assert parse_smi("Tesla T4, 535.1\nTesla T4, 535.1\n") == Machine(names=("Tesla T4", "Tesla T4"), driver="535.1")
    with pytest.raises(UnfitBoxError, match="no GPU"):
        parse_smi("No devices were found\n")


def test_every_line_has_its_lock_and_each_lock_pins_torch() -> None:
    folder = code_root() / "trainer" / "requirements"
    assert {line.lock for line in LINES} == {path.name for path in folder.glob("*.lock")}
    for line in LINES:
        pins = [row for row in (folder / line.lock).read_text().splitlines() if row and not row.startswith("#")]
        assert all("==" in pin for pin in pins) and any(pin.startswith("torch==") for pin in pins)
    wanted = {row.split(">")[0].replace("_", "-") for row in (folder / "base.in").read_text().splitlines() if not row.startswith("#")}
    assert wanted <= {pin.split("==")[0] for pin in pins}


def box(folder: Path, smi: str | None) -> tuple[Path, dict[str, str]]:
    """A box folder and the environment of a machine whose nvidia-smi says ``smi``; None: it has none."""
    (folder / "job").mkdir()
    (folder / "work").mkdir()
    (folder / "job/box.json").write_text(json.dumps({"gpus": 2, "disk_gib": 0.0, "model": ""}))
    (folder / "job/submit.json").write_text("{}")
    tools = folder / "tools"
    tools.mkdir()
    if smi is not None:
        (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
        (tools / "nvidia-smi").chmod(0o755)
    return folder, {**os.environ, "PATH": f"{tools}:/bin", "PYTHONPATH": str(code_root())}


@pytest.mark.parametrize(
    ("smi", "disk_gib", "said"),
    [
        (None, 0.0, "no nvidia-smi"),
        ("echo 'couldn'\"'\"'t communicate with the driver'; exit 9", 0.0, "does not work"),
        ("echo No devices were found", 0.0, "no GPU that works"),
        ("echo 'Tesla T4, 580.1'", 0.0, "has 1 GPUs, 2 were ordered"),
        ("echo 'Tesla T4, 470.1'; echo 'Tesla T4, 470.1'", 0.0, "too old"),
        ("echo 'Tesla T4, 580.1'; echo 'Tesla T4, 580.1'", 1e9, "disk is too small"),
    ],
)
def test_an_unfit_machine_ends_the_job_at_once(tmp_path: Path, smi: str | None, disk_gib: float, said: str) -> None:
    import sys

    folder, environment = box(tmp_path, smi)
    (folder / "job/box.json").write_text(json.dumps({"gpus": 2, "disk_gib": disk_gib, "model": ""}))
    ended = subprocess.run([sys.executable, "-P", "-m", "trainer.prepare", str(folder)], env=environment, timeout=60, check=False)
    result = json.loads((folder / "work/result.json").read_text())
    assert ended.returncode == ExitCode.UNFIT_BOX == result["exit_code"] and said in result["reason"]
