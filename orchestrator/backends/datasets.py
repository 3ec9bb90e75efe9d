"""A dataset that lies elsewhere, brought to this machine: a Hub id, or a Kaggle path. The only place that downloads data.

Raises DataProblem with the next thing to type; must not hang, and must not download what cannot be read.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from orchestrator.backends.models import TIMEOUT_S, reachable
from orchestrator.data.prepare import Located
from orchestrator.data.sources import KINDS
from orchestrator.errors import DataProblem, MissingExtra
from orchestrator.ledger.paths import cache_dir, private
from orchestrator.spec.jobspec import Job

HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
KAGGLE = re.compile(r"^kaggle:(competitions/)?([a-z0-9][\w-]*(?:/[\w-]+)?)$", re.IGNORECASE)
KAGGLE_TIMEOUT_S = 3600.0
PATTERNS = [f"*{ending}{packed}" for ending in KINDS for packed in ("", ".gz") if ending != ".txt"] + ["*.zip"]


def locate(job: Job, *, offline: bool) -> Located:
    """Where the job's dataset lies on this machine, downloaded first when it lies elsewhere and nothing here has its name."""
    data = job.spec.dataset
    beside = Located.beside(job)
    train, root = _place(data.path, beside.train, offline=offline)
    if data.eval_path is None or beside.held_out is None:
        return Located(train=train, root=root)
    held_out, held_root = _place(data.eval_path, beside.held_out, offline=offline)
    return Located(train=train, root=root, held_out=held_out, held_root=held_root)


def _place(name: str, beside: Path, *, offline: bool) -> tuple[Path, Path | None]:
    """(where one dataset lies, how far its links may lead): a Kaggle path, what has its name beside the job file, or a Hub id."""
    if name.startswith("kaggle:"):
        return _kaggle(name, offline=offline), None
    if _exists(beside) or not HUB_ID.match(name) or Path(name).suffix.lower() in (*KINDS, ".zip", ".gz"):
        return beside, None
    folder = _hub(name, offline=offline)
    return folder, folder.parent.parent  # its files are links to the blobs beside it


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _hub(name: str, *, offline: bool) -> Path:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtra(f"dataset {name}, which is not beside the job file, so a Hub id,", "check")
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    cut_off = offline or bool(os.environ.get("HF_HUB_OFFLINE")) or not reachable()
    options: dict[str, Any] = {"repo_type": "dataset", "allow_patterns": PATTERNS, "etag_timeout": TIMEOUT_S}
    try:
        if not cut_off:
            _check_room(name)
        return Path(snapshot_download(name, local_files_only=cut_off, **options))
    except GatedRepoError as error:
        raise DataProblem(
            f"dataset {name} is gated for you",
            hint=f"accept its terms on {ENDPOINT}/datasets/{name}, then: hf auth login; then this command again",
        ) from error
    except RepositoryNotFoundError as error:
        raise DataProblem(
            f"dataset {name} is neither beside the job file nor on the Hub, or it is private", hint="check the spelling; hf auth login"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError, ValueError) as error:
        why = "the Hub cannot be reached" if cut_off else f"its download failed ({type(error).__name__})"
        raise DataProblem(
            f"dataset {name} does not exist beside the job file; as a Hub id it is not in the cache here, and {why}",
            hint=f"connect to the network, or name a file; hf download --repo-type dataset {name} brings it",
        ) from error


def _check_room(name: str) -> None:
    """Refuse what would fill this machine's disk, before the first byte."""
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_CACHE

    info = HfApi().dataset_info(name, files_metadata=True, timeout=TIMEOUT_S)
    needed = sum(file.size or 0 for file in info.siblings or [] if Path(file.rfilename).suffix.lower() in (*KINDS, ".zip", ".gz"))
    place = Path(HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DataProblem(
            f"dataset {name} has {needed / 2**30:.1f} GiB, and {place} has room for {free / 2**30:.1f}", hint="set HF_HOME to a larger disk"
        )


def _kaggle(path: str, *, offline: bool) -> Path:
    """By Kaggle's own command, which holds the token; kept in the cache."""
    found = KAGGLE.match(path)
    if found is None:
        raise DataProblem(f"dataset {path}: not a Kaggle path", hint="kaggle:OWNER/DATASET or kaggle:competitions/NAME")
    competition, name = bool(found[1]), found[2]
    if not competition and "/" not in name:
        raise DataProblem(f"dataset {path}: not a Kaggle path", hint=f"kaggle:OWNER/{name}, or kaggle:competitions/{name}")
    folder = cache_dir() / "kaggle" / name.replace("/", "--")
    if _holds_files(folder):
        return folder
    manual = f"kaggle competitions download -c {name}" if competition else f"kaggle datasets download -d {name}"
    if offline:
        raise DataProblem(f"dataset {path} is not in the cache here, and --offline forbids fetching it", hint=f"{manual}, and name the zip")
    tool = shutil.which("kaggle")
    if tool is None:
        raise DataProblem(f"dataset {path}: Kaggle's command is not installed", hint="pip install kaggle, and put its token in ~/.kaggle")
    incoming = private(folder.with_name(f".{folder.name}.incoming"))
    try:
        done = subprocess.run(
            [tool, *manual.split()[1:], "-p", str(incoming)], capture_output=True, text=True, timeout=KAGGLE_TIMEOUT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode or not _holds_files(incoming):
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1][:300]
            raise DataProblem(f"dataset {path}: kaggle refuses: {said}", hint=_kaggle_hint(said, name, competition=competition))
        shutil.rmtree(folder, ignore_errors=True)
        incoming.rename(folder)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataProblem(f"dataset {path} could not be fetched: {error}", hint=manual) from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return folder


def _kaggle_hint(said: str, name: str, *, competition: bool) -> str:
    if "403" in said and competition:
        return f"accept the rules at kaggle.com/competitions/{name}/rules"
    if "401" in said or "403" in said or "kaggle.json" in said or "authenticate" in said.lower():
        return "make a token at kaggle.com/settings and put it in ~/.kaggle"
    return "check the spelling"


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_file() for path in folder.rglob("*"))
