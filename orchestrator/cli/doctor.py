"""doctor: what this machine can train on and rent, what is missing, and how to get it. Asks every cloud it has a credential for."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from orchestrator.cli import output, places
from orchestrator.errors import CloudtuneError, ExitCode
from orchestrator.ledger.paths import state_dir
from orchestrator.run.ports import PortError, Refused

State = Literal["ok", "missing", "problem", "unasked"]
LEAST_FREE_GIB = 2.0  # of the state folder: adapters, checkpoints, SkyPilot's own files
# what other tools keep where, for places that cloudtune plans and lists but does not rent yet
ELSEWHERE = {
    "lambda": (".lambda_cloud/lambda_keys", "a file with the line: api_key = KEY, from lambda.ai's dashboard"),
    "aws": (".aws/credentials", "aws configure"),
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: State
    said: str
    next: str = ""  # what to type or do


def doctor() -> int:
    """The ``doctor`` command. Exit code 0 whatever it finds: nothing is wrong with not renting."""
    found = [*tools(), *accounts()]
    if output.as_json():
        output.print_json({"python": sys.version.split()[0], "findings": [asdict(one) for one in found]})
        return ExitCode.OK
    console = output.answers()
    marks = {"ok": "✓", "missing": "·", "problem": "✗", "unasked": "?"}
    for one in found:
        console.print(f"{marks[one.state]} {one.what}: {one.said}", markup=False, soft_wrap=True)
        if one.next:
            console.print(f"    {one.next}", markup=False, soft_wrap=True)
    return ExitCode.OK


def tools() -> list[Finding]:
    """What is installed here."""
    found = [
        _package("torch", "training on this machine", "train"),
        _package("sky", "renting, through SkyPilot", "sky"),
        _package("tokenizers", "counting tokens with the model's own tokenizer", "check"),
    ]
    ssh = shutil.which("ssh")
    if ssh is None:
        found.append(
            Finding(
                what="ssh", state="missing", said="OpenSSH's client is needed to speak with what is rented", next="install openssh-client"
            )
        )
    else:
        found.append(Finding(what="ssh", state="ok", said=ssh))
    return [*found, _space(), _hub()]


def _package(name: str, purpose: str, extra: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(what=purpose, state="missing", said="not installed", next=f"pip install 'cloudtune[{extra}]'")
    return Finding(what=purpose, state="ok", said="installed")


def _space() -> Finding:
    folder = state_dir()
    while not folder.exists():
        folder = folder.parent
    free_gib = shutil.disk_usage(folder).free / 2**30
    said = f"{free_gib:.1f} GiB free in {folder}"
    if free_gib < LEAST_FREE_GIB:
        return Finding(what="disk", state="problem", said=said, next="checkpoints and adapters come home to there; XDG_STATE_HOME moves it")
    return Finding(what="disk", state="ok", said=said)


def _hub() -> Finding:
    """Whether there is a token for gated models; the token itself is never looked at further."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    if os.environ.get("HF_TOKEN") or (home / "token").is_file():
        return Finding(what="Hub token", state="ok", said="there is one")
    return Finding(what="Hub token", state="missing", said="only gated and private models need one", next="hf auth login")


def accounts() -> list[Finding]:
    """Every place that can be rented or listed, asked where there is a credential."""
    here = places.present()
    found = [asked(place, lambda place=place: places.observer(place).everything()) for place in here]  # type: ignore[misc]
    for cloud in places.BUILT:
        if not any(place.split("/")[0] == cloud for place in here):
            found.append(Finding(what=cloud, state="missing", said="no credential on this machine", next=places.HOW_TO[cloud]))
    for cloud, (place, how) in ELSEWHERE.items():
        there = (Path.home() / place).is_file()
        said = f"~/{place} is there; cloudtune plans for it and does not rent there yet" if there else "no credential; not rented from yet"
        found.append(Finding(what=cloud, state="ok" if there else "missing", said=said, next="" if there else how))
    return found


def asked(place: str, ask: Callable[[], tuple[object, ...]]) -> Finding:
    """What a place says to the credential here: ``ok`` or ``problem``.

    ``ask`` lists what exists there, and may raise PortError or CloudtuneError.
    """
    began = time.monotonic()
    try:
        count = len(ask())
    except (PortError, CloudtuneError) as error:
        said = error.message if isinstance(error, CloudtuneError) else str(error)
        silent = isinstance(error, PortError) and not isinstance(error, Refused)  # the credential may well be good
        how = "it gave no answer: look at the network, and try again" if silent else places.HOW_TO[place.split("/")[0]]
        return Finding(what=place, state="problem", said=said, next=how)
    running = f"{count} of cloudtune's instances there" if count else "nothing of cloudtune's is there"
    return Finding(what=place, state="ok", said=f"answers in {time.monotonic() - began:.1f} s; {running}")
