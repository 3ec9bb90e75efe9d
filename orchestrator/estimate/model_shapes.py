"""A model's shape from a Hub ``config.json``, from a local folder, or from the bundled table, which works offline.

Pure parsing: fetching a config from the Hub belongs to ``backends``. Must never load weights or import torch.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any

from . import architectures as a
from . import experts as e
from .architectures import Builder, Config
from .problems import CannotSize, UnknownModel
from .shape import ModelShape

_TABLE = Path(__file__).parent / "data" / "models.json"

FAMILIES: dict[str, Builder] = {
    "llama": a.llama_like,
    "mistral": a.llama_like,
    "ministral": a.llama_like,
    "smollm3": partial(a.llama_like, tied=True),
    "qwen2": partial(a.llama_like, qkv_bias=True),
    "qwen3": partial(a.llama_like, qk_norm=True),
    "seed_oss": partial(a.llama_like, qkv_bias=True),
    "granite": a.llama_like,
    "gemma": partial(a.llama_like, tied=True),
    "gemma2": partial(a.llama_like, tied=True, norms_per_layer=4, softcap=True, caps_logits=True),
    "gemma3_text": partial(a.llama_like, tied=True, norms_per_layer=4, qk_norm=True),
    "gemma4_text": e.gemma4,
    "phi": a.phi,
    "phi3": a.phi3,
    "gpt2": a.gpt2,
    "gpt_neox": a.neox_like,
    "falcon": a.falcon,
    "opt": a.opt,
    "mpt": a.mpt,
    "chatglm": a.chatglm,
    "apertus": a.apertus,
    "mixtral": e.mixture,
    "qwen2_moe": partial(e.mixture, qkv_bias=True),
    "qwen3_moe": partial(e.mixture, qk_norm=True),
    "olmoe": partial(e.mixture, wide_qk_norm=True),
    "gpt_oss": e.gpt_oss,
    "deepseek_v2": e.deepseek_v2,
    "bert": a.bert_like,
    "electra": partial(a.bert_like, pooler=True),
    "roberta": partial(a.bert_like, pooler=True),
    "xlm-roberta": partial(a.bert_like, pooler=True),
    "distilbert": partial(a.bert_like, pooler=True, types=False),
    "deberta-v2": a.deberta,
}
_ENCODER_DECODERS = frozenset(
    {"t5", "mt5", "umt5", "bart", "mbart", "pegasus", "marian", "longt5", "m2m_100", "switch_transformers", "t5gemma"}
)
_TEXT_CONFIGS = ("text_config", "language_config", "llm_config")


def shape_from_config(config: Mapping[str, Any], name: str = "?") -> ModelShape:
    """The shape a Hub ``config.json`` describes.

    A multimodal config is read for its text model; its vision tower is not counted, which the caller can see from a
    safetensors header (:func:`shape_from_folder`). Raises :class:`CannotSize` for an architecture without a formula.
    """
    if not isinstance(config, Mapping):
        raise CannotSize(f"the config of {name} is not a JSON object")
    inner = next((config[key] for key in _TEXT_CONFIGS if isinstance(config.get(key), Mapping)), None)
    merged: Config = {**config, **inner} if inner is not None else config
    model_type = str(merged.get("model_type") or config.get("model_type") or "")
    if model_type in _ENCODER_DECODERS or config.get("is_encoder_decoder"):
        raise CannotSize(f"{name} is an encoder-decoder ({model_type}); cloudtune trains decoders and encoders only")
    builder = FAMILIES.get(model_type) or FAMILIES.get(f"{model_type}_text")
    if builder is None:
        known = ", ".join(sorted(FAMILIES))
        hint = f"{a.TRACE_HINT}. Architectures with a formula: {known}"
        raise CannotSize(f"no formula for the architecture {model_type or '(none stated)'!r} of {name}", hint=hint)
    named: Config = {**merged, "model_type": model_type, "_name": name}
    a.check_optional(named)
    try:
        shape = builder(named)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        if isinstance(error, CannotSize):
            raise
        raise CannotSize(f"the config of {name} holds a value of the wrong kind: {error}") from error
    impossible = next((m for m in shape.matrices if min(m.inputs, m.outputs) < 1 or m.layers < 0), None)
    if impossible is not None:
        sizes = f"{impossible.outputs} x {impossible.inputs} in {impossible.layers} layers"
        raise CannotSize(f"the config of {name} contradicts itself: its {impossible.name} would be {sizes}")
    return shape


def shape_from_folder(folder: Path) -> ModelShape:
    """A local model folder: its config.json, and its safetensors headers for what the config does not say.

    Only the headers are read. Parameters beyond the formula's count (a vision tower) are added to ``other_params``;
    fewer than the formula's count by over 2 % means the folder and the config disagree: :class:`CannotSize`.
    """
    config_file = folder / "config.json"
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CannotSize(f"{folder} has no config.json", hint="point at the folder that holds config.json and *.safetensors") from None
    except OSError as error:
        raise CannotSize(f"{config_file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CannotSize(f"{config_file} is not JSON: {error}") from None
    shape = shape_from_config(config, str(folder))
    headers = sorted(folder.glob("*.safetensors"))
    if not headers or (config.get("quantization_config") or {}):
        return shape
    counted = sum(header_parameters(file) for file in headers)
    extra = counted - shape.total_params
    if extra < -0.02 * shape.total_params:
        raise CannotSize(f"{folder} holds {counted:,} parameters, its config.json describes {shape.total_params:,}")
    return replace(shape, other_params=shape.other_params + extra) if extra > 0.002 * shape.total_params else shape


def header_parameters(file: Path) -> int:
    """Elements of all tensors of one safetensors file, from its header. Raises :class:`CannotSize` when it is torn."""
    try:
        with file.open("rb") as handle:
            (size,) = struct.unpack("<Q", handle.read(8))
            if not 0 < size <= 100_000_000:  # the format's own limit
                raise ValueError("the header's length is absurd")
            header = json.loads(handle.read(size))
        total = 0
        for key, entry in header.items():
            if key != "__metadata__":
                elements = 1
                for dim in entry["shape"]:
                    elements *= int(dim)
                total += elements
        return total
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise CannotSize(f"{file} is not a readable safetensors file: {error}") from None


@cache
def _table() -> dict[str, dict[str, Any]]:
    data: dict[str, dict[str, Any]] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return data


@cache
def _names() -> dict[str, str]:
    """Every spelling of every bundled model, lower case, to its id."""
    names: dict[str, str] = {}
    for model, entry in _table().items():
        for spelling in (model, model.split("/")[-1], *entry.get("aliases", [])):
            names.setdefault(spelling.lower(), model)
    return names


def bundled_models() -> tuple[str, ...]:
    """Hub ids in the bundled table."""
    return tuple(_table())


def published_parameters(model: str) -> int | None:
    """What the model's own page says it holds; for tests and for the curious."""
    value = _table()[model].get("params")
    return int(value) if value else None


def suggest(name: str, count: int = 4) -> list[str]:
    """Bundled ids whose names are nearest to this one."""
    wanted = name.lower().split("/")[-1]
    near = get_close_matches(wanted, [n for n in _names() if "/" not in n], n=count * 3, cutoff=0.4)
    return list(dict.fromkeys(_names()[n] for n in near))[:count]


_SUFFIXES = ("-unsloth-bnb-4bit", "-bnb-4bit", "-4bit", "-hf", "-chat-hf")


def _bundled_id(name: str) -> str | None:
    wanted = name.strip().lower()
    candidates = [wanted, wanted.split("/")[-1]]
    candidates += [c.removesuffix(s) for c in list(candidates) for s in _SUFFIXES if c.endswith(s)]
    return next((_names()[c] for c in candidates if c in _names()), None)


def bundled_config(name: str) -> dict[str, Any] | None:
    """The bundled table's config.json of this model, or None: what a trace builds the model from."""
    model = _bundled_id(name)
    return None if model is None else dict(_table()[model]["config"])


def bundled_shape(name: str) -> ModelShape:
    """The shape of a model in the bundled table, by Hub id or by its usual short name; quantized copies too.

    Raises :class:`UnknownModel` with the nearest known names.
    """
    model = _bundled_id(name)
    if model is not None:
        return shape_from_config(_table()[model]["config"], model)
    near = suggest(name)
    hint = f"nearest known names: {', '.join(near)}" if near else "a local folder with a config.json works too"
    raise UnknownModel(f"{name} is not in the bundled table, and no config.json was given", hint=hint)
