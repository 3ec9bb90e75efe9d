"""Common workloads of the estimate's tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.estimate.model_shapes import bundled_shape
from orchestrator.estimate.profile import HF_TRAINER
from orchestrator.estimate.workload import Workload


@pytest.fixture(scope="session")
def llama3() -> Callable[..., Workload]:
    """A QLoRA job of Llama-3-8B whose trainer reads allocated memory; any field can be given."""
    shape = bundled_shape("llama-3-8b")

    def make(**fields: Any) -> Workload:
        profile = fields.pop("profile", replace(HF_TRAINER, counter="allocated"))
        given = {"quantization": "nf4", "lora_r": 16, "max_length": 512, "optimizer": "adamw", **fields}
        return Workload(shape=shape, profile=profile, **given)

    return make
