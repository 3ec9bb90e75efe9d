"""What the model Hub says of a model without its weights. Network; every failure is an answer, never a hang."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelProblem

TIMEOUT_S = 5.0
_MODEL = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def cached(model: str) -> Path | None:
    """The folder of a Hub model's files in the Hub client's own cache, or None: read as it lies there, without the client.

    The client takes 0.2 s to load. Its layout: ``models--OWNER--NAME/refs/main`` names a folder below ``snapshots``.
    """
    if not _MODEL.fullmatch(model):
        return None
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    folder = Path(os.path.expandvars(hub)).expanduser() / f"models--{model.replace('/', '--')}"
    try:
        commit = (folder / "refs/main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    found = folder / "snapshots" / commit
    return found if _COMMIT.fullmatch(commit) and found.is_dir() else None


def gated(model: str) -> ModelProblem:
    """The error for a model whose terms this account has not accepted, with the page to visit."""
    from huggingface_hub.constants import ENDPOINT

    return ModelProblem(
        f"model {model} is gated for you", hint=f"accept its terms on {ENDPOINT}/{model}, then: hf auth login; then this command again"
    )


def fetch_config(model: str) -> dict[str, Any] | None:
    """``config.json`` of a Hub model, from the local cache or the Hub; None when neither has an answer.

    Raises ModelProblem when the Hub says no: gated, private, or no such model.
    """
    if importlib.util.find_spec("huggingface_hub") is None or "/" not in model:
        return None
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    offline = bool(os.environ.get("HF_HUB_OFFLINE"))
    try:
        path = hf_hub_download(model, "config.json", etag_timeout=TIMEOUT_S, local_files_only=offline)
        found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except GatedRepoError as error:
        raise gated(model) from error
    except RepositoryNotFoundError as error:
        raise ModelProblem(f"model {model} does not exist on the Hub, or is private", hint="check the spelling; hf auth login") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError, ValueError):
        return None
    return found
