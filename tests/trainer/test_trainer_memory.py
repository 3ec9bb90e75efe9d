"""Ten settings of the real trainer, on the processor, move peak memory the way the estimate says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trainer_rig import ROOT, WORDS, make_tokenizer, write_rows

from orchestrator.estimate.memory import estimate_memory
from orchestrator.estimate.model_shapes import shape_from_config
from orchestrator.estimate.profile import OURS_BF16
from orchestrator.estimate.workload import Workload

SHAPE = {
    "vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6,
    "num_key_value_heads": 6, "max_position_embeddings": 1024, "tie_word_embeddings": False,
}  # fmt: skip
ANSWER_TOKENS = 6  # a row's completion with its end
PROCESSOR = replace(OURS_BF16, name="cloudtune fp32", base_bytes=4, autocast=False)
BASE = Workload(
    shape=shape_from_config({"model_type": "llama", **SHAPE}, "small Llama"), quantization="none", lora_r=128, micro_batch=4, max_length=256,
    answer_tokens=4 * ANSWER_TOKENS, checkpointing="none", optimizer="adamw", profile=PROCESSOR,
)  # fmt: skip
LEAST_BYTES = 10e6  # of change that the formula must see for its direction to mean something
# What is changed, in the estimate's words and in the trainer's.
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rank 256": ({"lora_r": 256}, {"lora": {"r": 256}}),
    "nf4 weights": ({"quantization": "nf4"}, {"quantization": "nf4"}),
    "attention only": ({"lora_targets": ("q", "k", "v", "o")}, {"lora": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}}),
    "dropout": ({"lora_dropout": 0.1}, {"lora": {"dropout": 0.1}}),
    "twice the rows": ({"micro_batch": 8, "answer_tokens": 8 * ANSWER_TOKENS}, {"training": {"per_device_train_batch_size": 8}}),
    "half the length": ({"max_length": 128}, {"training": {"max_length": 128}}),
    "two passes a step": (
        {"micro_batch": 2, "accumulation": 2, "answer_tokens": 2 * ANSWER_TOKENS},
        {"training": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}},
    ),
    "checkpointing": ({"checkpointing": "layer"}, {"training": {"gradient_checkpointing": True}}),
    "8-bit optimizer": ({"optimizer": "adamw_8bit"}, {"training": {"optim": "adamw_8bit"}}),
    "loss on the prompt too": ({"answer_tokens": None}, {"training": {"train_on_prompt": True}}),
}


def _config(folder: Path, model: Path, name: str, changes: dict[str, Any]) -> Path:
    training = {
        "max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_length": 256,
        "gradient_checkpointing": False, "optim": "adamw_torch", **changes.get("training", {}),
    }  # fmt: skip
    prompt = " ".join(WORDS[i % len(WORDS)] for i in range(training["max_length"] - ANSWER_TOKENS - 1))
    rows = [{"prompt": prompt, "completion": " good film and fine plot"}] * 16
    path = folder / f"{name.replace(' ', '-')}.json"
    settings = {
        "model": str(model), "train_file": str(write_rows(path.with_suffix(".jsonl"), rows)), "out_dir": str(path.with_suffix(".out")),
        "threads": 1, "save_steps": 0, "quantization": changes.get("quantization", "none"), "training": training,
        "lora": {"r": 128, "alpha": 128, **changes.get("lora", {})},
    }  # fmt: skip
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Measured peak bytes of each setting, and of none changed."""
    for needed in ("torch", "transformers", "peft", "bitsandbytes"):
        pytest.importorskip(needed)
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("memory")
    model = folder / "model"
    make_tokenizer(model)
    # In small files: one that holds an unquantized tensor stays mapped, and what was read of it counts as resident.
    LlamaForCausalLM(LlamaConfig(**SHAPE, bos_token_id=1, eos_token_id=2)).save_pretrained(model, max_shard_size="3MB")
    paths = {name: _config(folder, model, name, trainer) for name, (_, trainer) in {"base": ({}, {}), **SETTINGS}.items()}
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    variables["TORCHDYNAMO_DISABLE"] = "1"  # as the supervisor sets it
    # Every block of over 128 KiB goes back to the system when it is freed, so the resident set follows what is alive.
    variables["MALLOC_MMAP_THRESHOLD_"] = str(128 * 1024)
    runner = str(Path(__file__).with_name("memory_runner.py"))
    done = subprocess.run(
        [sys.executable, "-P", runner, *map(str, paths.values())], env=variables, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: int(path.with_suffix(".peak").read_text()) for name, path in paths.items()}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a fork's peak resident set is its own on Linux only")
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_moves_peak_memory_the_way_the_estimate_says(peaks: dict[str, int], name: str) -> None:
    said = estimate_memory(replace(BASE, **SETTINGS[name][0])).expected - estimate_memory(BASE).expected
    measured = peaks[name] - peaks["base"]
    print(f"{name}: measured {measured / 1e6:+.0f} MB, said {said / 1e6:+.0f} MB")  # shown with -s
    assert abs(said) >= LEAST_BYTES
    assert (measured > 0) == (said > 0)
    assert abs(measured) >= LEAST_BYTES / 2
