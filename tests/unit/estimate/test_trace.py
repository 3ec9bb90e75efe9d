"""The trace of real modules with fake tensors and the closed form say the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.estimate.memory import estimate_memory
from orchestrator.estimate.model_shapes import bundled_shape
from orchestrator.estimate.profile import OURS_BF16
from orchestrator.estimate.workload import Workload

TABLE = json.loads((Path(__file__).parents[3] / "orchestrator/estimate/data/models.json").read_text())


@pytest.fixture(scope="module")
def tracer() -> Any:
    for needed in ("torch", "transformers", "peft", "bitsandbytes"):
        pytest.importorskip(needed)
    import trainer.trace

    return trainer.trace


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("model", "checkpointing", "length", "rows"),
    [
        ("meta-llama/Meta-Llama-3-8B", True, 2048, 1),
        ("meta-llama/Meta-Llama-3-8B", False, 512, 1),
        ("meta-llama/Meta-Llama-3-8B", False, 512, 2),
        ("Qwen/Qwen2.5-7B", True, 1024, 1),
        ("Qwen/Qwen2.5-7B", False, 1024, 1),
        ("google/gemma-2-2b", True, 1024, 1),
        ("google/gemma-2-2b", False, 1024, 1),
        ("microsoft/phi-2", False, 1024, 1),
    ],
)
def test_trace_and_closed_form_agree_within_two_percent(tracer: Any, model: str, checkpointing: bool, length: int, rows: int) -> None:
    config = {"model": TABLE[model]["config"], "quantization": "nf4", "length": length, "micro_batch": rows,
              "gradient_checkpointing": checkpointing, "loss": "full", "optim": "adamw_8bit"}  # fmt: skip
    traced = tracer.trace(config)
    job = Workload(
        shape=bundled_shape(model), quantization="nf4", max_length=length, micro_batch=rows, optimizer="adamw_8bit",
        checkpointing="layer" if checkpointing else "none", profile=replace(OURS_BF16, counter="allocated", loss="full"),
    )  # fmt: skip
    assert estimate_memory(job).expected == pytest.approx(traced["peak_bytes"], rel=0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", ["google/gemma-2-2b", "Qwen/Qwen2.5-7B"])
@pytest.mark.parametrize("answers", [64, 900])
def test_our_own_loss_agrees_too_where_logits_are_capped_and_where_they_are_not(tracer: Any, model: str, answers: int) -> None:
    config = {"model": TABLE[model]["config"], "quantization": "nf4", "length": 1024, "answer_tokens": answers, "optim": "adamw_8bit"}
    job = Workload(
        shape=bundled_shape(model), quantization="nf4", max_length=1024, optimizer="adamw_8bit", answer_tokens=answers,
        profile=replace(OURS_BF16, counter="allocated"),
    )  # fmt: skip
    assert estimate_memory(job).expected == pytest.approx(tracer.trace(config)["peak_bytes"], rel=0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model_type", "targets"), [("bloom", "all-linear"), ("mamba", ["in_proj", "x_proj"])])
def test_models_without_fused_attention_or_without_attention_are_traced(tracer: Any, model_type: str, targets: Any) -> None:
    config = {"model_type": model_type, "hidden_size": 64, "num_hidden_layers": 6, "n_head": 4, "vocab_size": 1000, "state_size": 8}
    assert tracer.trace({"model": config, "length": 64, "target_modules": targets})["peak_bytes"] > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rows", "length"), [(1, 512), (2, 2048)])
def test_gradients_that_wait_and_a_loss_in_chunks_are_traced_too(tracer: Any, rows: int, length: int) -> None:
    model = "meta-llama/Meta-Llama-3-8B"
    config = {"model": TABLE[model]["config"], "quantization": "nf4", "r": 64, "micro_batch": rows, "length": length, "accumulation": 8}
    job = Workload(
        shape=bundled_shape(model), quantization="nf4", lora_r=64, micro_batch=rows, max_length=length, accumulation=8,
        profile=replace(OURS_BF16, counter="allocated"),
    )  # fmt: skip
    assert estimate_memory(job).expected == pytest.approx(tracer.trace(config)["peak_bytes"], rel=0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.filterwarnings("ignore")
def test_a_trace_leaves_torch_as_it_was(tracer: Any) -> None:
    import torch

    config = {"model": TABLE["HuggingFaceTB/SmolLM2-135M"]["config"], "quantization": "none", "length": 16, "autocast": True}
    before = (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"), torch.get_default_dtype())
    tracer.trace_step(config, 2)
    assert (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"), torch.get_default_dtype()) == before


def test_bad_configs_are_reported_as_json(tracer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "c.json"
    for content in ("{", "{}", '{"model": {"model_type": "nothing", "num_hidden_layers": 2}}', '{"model": {"model_type": "llama"}}'):
        broken.write_text(content)
        assert tracer.main([str(broken)]) == 1
        assert json.loads(capsys.readouterr().out)["ok"] is False
    assert tracer.main([]) == 1
