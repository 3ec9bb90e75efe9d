"""Shapes are counted to the parameter, offline, and what cannot be sized is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from orchestrator.estimate.model_shapes import (
    FAMILIES,
    bundled_models,
    bundled_shape,
    header_parameters,
    published_parameters,
    shape_from_config,
    shape_from_folder,
    suggest,
)  # fmt: skip
from orchestrator.estimate.problems import CannotSize, UnknownModel

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 256, "tie_word_embeddings": False,
}  # fmt: skip


def test_at_least_sixty_models_are_bundled() -> None:
    assert len(bundled_models()) >= 60


@pytest.mark.parametrize("model", [m for m in bundled_models() if published_parameters(m)])
def test_counts_what_the_models_own_page_says(model: str) -> None:
    assert bundled_shape(model).total_params == published_parameters(model)


def test_finds_short_names_quantized_copies_and_any_case() -> None:
    full = bundled_shape("meta-llama/Meta-Llama-3-8B")
    for name in (
        "llama-3-8b",
        "LLAMA-3-8B",
        "unsloth/llama-3-8b-bnb-4bit",
        "unsloth/llama-3-8b-Instruct-bnb-4bit",
        "Meta-Llama-3-8B-Instruct",
    ):
        assert bundled_shape(name).total_params == full.total_params


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UnknownModel, match="Meta-Llama-3-8B"):
        bundled_shape("meta-lama/Llama-3-8")
    assert "Qwen/Qwen2.5-7B" in suggest("qwen25-7b")
    with pytest.raises(UnknownModel, match="local folder"):
        bundled_shape("zzzzqqqq")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "t5", "is_encoder_decoder": True}, "encoder-decoder"),
        ({"model_type": "mamba2", "hidden_size": 64}, "--trace"),
        ({}, "none stated"),
        ({**LLAMA, "hidden_size": None}, "hidden_size"),
        ({**LLAMA, "num_hidden_layers": 0}, "num_hidden_layers"),
        ({**LLAMA, "intermediate_size": "many"}, "intermediate_size"),
    ],
)
def test_refuses_what_it_cannot_size(config: dict[str, Any], says: str) -> None:
    with pytest.raises(CannotSize, match=says):
        shape_from_config(config, "some/model")
    with pytest.raises(CannotSize):
        shape_from_config([], "some/model")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_key_value_heads", "2"), ("num_key_value_heads", -2), ("head_dim", 16.5), ("max_position_embeddings", "256"),
     ("max_position_embeddings", float("nan")), ("max_position_embeddings", 0), ("num_hidden_layers", 10**400),
     ("num_attention_heads", 65), ("hidden_size", True)],
)  # fmt: skip
def test_odd_numbers_in_a_config_are_refused(key: str, value: Any) -> None:
    with pytest.raises(CannotSize):
        shape_from_config({**LLAMA, key: value})


def test_reads_the_text_model_of_a_multimodal_config() -> None:
    inner = {**LLAMA, "model_type": "gemma3_text", "head_dim": 16}
    assert shape_from_config({"model_type": "gemma3", "text_config": inner}).architecture == "gemma3_text"


def _safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    header = {name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    raw = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)


def test_a_folder_is_read_without_its_weights_and_extra_parameters_are_counted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    counted = shape_from_config(LLAMA).total_params
    _safetensors(tmp_path / "model.safetensors", {"text": [counted], "vision": [100, 100]})
    assert shape_from_folder(tmp_path).total_params == counted + 10_000
    _safetensors(tmp_path / "model.safetensors", {"text": [counted // 2]})
    with pytest.raises(CannotSize, match="describes"):
        shape_from_folder(tmp_path)


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotSize, match=r"no config\.json"):
        shape_from_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CannotSize, match="not JSON"):
        shape_from_folder(tmp_path)
    for torn in (b"", b"\0" * 8, struct.pack("<Q", 50) + b"{", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 11) + b'{"a": [1]}  '):
        (tmp_path / "x.safetensors").write_bytes(torn)
        with pytest.raises(CannotSize, match="safetensors"):
            header_parameters(tmp_path / "x.safetensors")


def _smallest_of_each_family() -> list[str]:
    found: dict[str, str] = {}
    for model in bundled_models():
        shape = bundled_shape(model)
        known = found.get(shape.architecture)
        if known is None or shape.total_params < bundled_shape(known).total_params:
            found[shape.architecture] = model
    odd = {"tiiuae/falcon-40b", "google/gemma-4-E2B-it", "google/gemma-4-31B-it", "google/gemma-4-26B-A4B-it"}
    return sorted(set(found.values()) | odd)


def test_a_config_that_is_a_folder_or_a_huge_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a/config.json").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/config.json").write_text('{"num_hidden_layers": ' + "9" * 5000 + "}")
    for name in ("a", "b"):
        with pytest.raises(CannotSize, match=r"config\.json"):
            shape_from_folder(tmp_path / name)


def test_every_family_has_a_bundled_model_or_is_a_spelling_of_one() -> None:
    covered = {bundled_shape(m).architecture for m in bundled_models()}
    assert set(FAMILIES) - covered <= {"ministral", "granite", "electra"}


@pytest.mark.filterwarnings("ignore")
def test_counts_what_transformers_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same configs with two layers, on the meta device: no number may differ."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    table = json.loads((Path(__file__).parents[3] / "orchestrator/estimate/data/models.json").read_text())
    for model in _smallest_of_each_family():
        config = dict(table[model]["config"])
        if config["model_type"] == "chatglm":  # remote code
            continue
        shape = shape_from_config(config, model)
        auto = transformers.AutoModelForSequenceClassification if shape.kind == "encoder" else transformers.AutoModelForCausalLM
        built = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
        with torch.device("meta"):
            counted = auto.from_config(built).num_parameters()
        classifier = 2 * shape.hidden + 2 if shape.kind == "encoder" else 0
        assert counted == shape.total_params + classifier, model
