"""The tokenizer of a job's model: from its folder, the Hub or its cache, or a package that carries it. No weights, no torch."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from orchestrator.backends.hub import cached
from orchestrator.backends.models import PACKAGED, TIMEOUT_S, local_folder, reachable
from orchestrator.data.gguf import read_header
from orchestrator.data.tokenizer import TokenizerFiles, files_of_gguf, template_of, word_of
from orchestrator.errors import DataProblem
from orchestrator.spec.jobspec import Job

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json")
MAX_FILE_BYTES = 200 * 2**20


def find_tokenizer(job: Job, *, offline: bool) -> TokenizerFiles | str:
    """The model's tokenizer; or, in words, why tokens can only be estimated. Raises DataProblem when its files are damaged."""
    if importlib.util.find_spec("tokenizers") is None or importlib.util.find_spec("jinja2") is None:
        return "tokenizers is not installed (pip install 'cloudtune[check]')"
    model = job.spec.model
    folder = local_folder(job)
    if folder is not None:
        return _of_folder(folder, f"folder {folder}")
    asked = bool(os.environ.get("HF_HUB_OFFLINE")) or offline
    found = _of_hub(model, offline=asked or not reachable())
    if found is not None:
        return found
    package = PACKAGED.get(model)
    spec = importlib.util.find_spec(package) if package is not None else None
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in sorted(Path(place).glob("*.gguf")):
            return files_of_gguf(read_header(path), f"package {package}")
    return f"the tokenizer of {model} is neither on this machine nor can the Hub be reached"


def _of_hub(model: str, *, offline: bool) -> TokenizerFiles | None:
    """From the Hub or its cache; None when neither has it."""
    if offline:
        folder = cached(model)
        here = _of_folder(folder, "the Hub's cache") if folder is not None else None
        return here if isinstance(here, TokenizerFiles) else None
    if "/" not in model or importlib.util.find_spec("huggingface_hub") is None:
        return None
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    fetched: Path | None = None
    for name in FILES:
        try:
            fetched = Path(hf_hub_download(model, name, etag_timeout=TIMEOUT_S)).parent
        except (LocalEntryNotFoundError, EntryNotFoundError):  # a file that this model has not got
            if name == FILES[0]:
                return None
        except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError, ValueError):
            return None
    found = _of_folder(fetched, "the Hub") if fetched is not None else None
    return found if isinstance(found, TokenizerFiles) else None


def _of_folder(folder: Path, source: str) -> TokenizerFiles | str:
    if not (folder / FILES[0]).is_file():
        return f"{source} holds no tokenizer.json"
    try:
        texts = {name: _text(folder / name) for name in FILES}
        config: dict[str, Any] = _object(texts["special_tokens_map.json"]) | _object(texts["tokenizer_config.json"])
        ends = _object(texts["generation_config.json"]).get("eos_token_id")
    except (OSError, ValueError, RecursionError) as error:
        raise DataProblem(f"the tokenizer in {folder} cannot be read: {error}", hint="download the model again") from error
    config = {name: word_of(value) or value if name.endswith("_token") else value for name, value in config.items()}
    template = texts["chat_template.jinja"] or template_of(config.pop("chat_template", None))
    return TokenizerFiles(
        tokenizer=texts["tokenizer.json"],
        config=config,
        template=template,
        ends=tuple(number for number in (ends if isinstance(ends, list) else [ends]) if isinstance(number, int)),
        source=source,
    )


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path.name} is larger than any tokenizer is")
    return path.read_text(encoding="utf-8")


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text) if text.strip() else {}
    if not isinstance(found, dict):
        raise ValueError("expected a JSON object")
    return found
