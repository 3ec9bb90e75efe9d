"""On a rented box, before anything is trained: look at the machine, install from wheels, then become the supervisor.

Started by ``start.sh`` as ``python -P -m trainer.prepare BOX``. Standard library only. What makes the box unfit (no
GPU, a driver that is too old, too little disk, an install that fails) ends the job at once with
``ExitCode.UNFIT_BOX``, so that no more is paid for it. Nothing is ever compiled here: wheels or nothing.

Reads ``job/box.json`` (:class:`Wanted`), ``job/submit.json`` (seconds until the soft deadline, the checkpoint to start
from) and ``job/config.json``; writes ``job/run.json``, the config that the supervisor gets.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contract import CONTRACT_VERSION, PROGRESS_FILE, RESULT_FILE, ConfigError, ExitCode, Kind, dump_config, load_config, write_atomically
from .errors import UnfitBoxError
from .progress import Progress

QUERY_S = 30.0  # nvidia-smi on a healthy machine answers in one
INSTALL_S = 1800.0
OLD_CARDS = re.compile(r"\b(P100|P40|P4|V100|TITAN|GTX|M60|M40|K80)\b", re.IGNORECASE)  # CUDA 13 has no code for them
MAY_TRAIN_ON_CPU = "CLOUDTUNE_BOX_MAY_TRAIN_ON_CPU"  # set on test machines that have no GPU behind their nvidia-smi
TOKEN_FILE = "hub_token"  # noqa: S105 - a file name; below job/, 0600, only for a gated model; gone once the weights are here
READY_FILE = ".cloudtune-ready"  # in the environment: the lock file that it was made from
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the job needs of its box."""

    gpus: int = 1
    disk_gib: float = 0.0  # free space for the environment, the model and the checkpoints
    model: str = ""  # a Hub id to download while the packages install; '': the model came with the upload
    packages: list[str] = dataclasses.field(default_factory=list)  # to install besides the trainer's own


@dataclass(frozen=True, kw_only=True)
class CudaLine:
    """One lock file and the drivers it runs on. Source: NVIDIA's CUDA compatibility tables."""

    lock: str
    driver: int  # lowest major version
    old_cards: bool  # has code for compute capability below 7.5


LINES = (CudaLine(lock="cu130.lock", driver=580, old_cards=False), CudaLine(lock="cu126.lock", driver=525, old_cards=True))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What nvidia-smi says."""

    names: tuple[str, ...]
    driver: str


def choose_line(machine: Machine) -> CudaLine:
    """The newest CUDA line that the driver and the card both take. Raises UnfitBoxError."""
    major = int(machine.driver.split(".")[0]) if machine.driver.split(".")[0].isdecimal() else 0
    old = any(OLD_CARDS.search(name) for name in machine.names)
    for line in LINES:
        if major >= line.driver and (line.old_cards or not old):
            return line
    raise UnfitBoxError(f"the instance's driver {machine.driver} is too old: {min(x.driver for x in LINES)} is the oldest that can be used")


def parse_smi(text: str) -> Machine:
    """Output of ``nvidia-smi --query-gpu=name,driver_version --format=csv,noheader``. Raises UnfitBoxError without a GPU."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.count(",") >= 1]
    if not rows:
        raise UnfitBoxError(f"the instance has no GPU that works: nvidia-smi says {text.strip()[:120]!r}")
    return Machine(names=tuple(row[0] for row in rows), driver=rows[0][1])


def look(wanted: Wanted, box: Path) -> CudaLine:
    """Ask the machine itself. Raises UnfitBoxError."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        raise UnfitBoxError("the instance has no GPU: there is no nvidia-smi")
    asked = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=QUERY_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnfitBoxError(f"the instance's nvidia-smi does not answer: {error}") from error
    if said.returncode:
        raise UnfitBoxError(f"the instance's GPU does not work: nvidia-smi says {(said.stdout + said.stderr).strip()[:200]!r}")
    machine = parse_smi(said.stdout)
    if len(machine.names) < wanted.gpus:
        raise UnfitBoxError(f"the instance has {len(machine.names)} GPUs, {wanted.gpus} were ordered")
    free_gib = shutil.disk_usage(box).free / GIB
    if free_gib < wanted.disk_gib and not (box / "env" / READY_FILE).exists():
        raise UnfitBoxError(f"the instance's disk is too small: {free_gib:.1f} GiB are free, {wanted.disk_gib:.1f} are needed")
    return choose_line(machine)


def install(box: Path, line: CudaLine, log: Path, packages: list[str]) -> None:
    """The environment of one lock file, from wheels only; nothing is done twice. Raises UnfitBoxError."""
    ready = box / "env" / READY_FILE
    if ready.exists() and ready.read_text() == line.lock:
        return
    requirements = box / "trainer" / "requirements"
    asked = [_uv(), "pip", "install", "--python", str(box / "env/bin/python"), "--only-binary", ":all:"]
    asked += ["-r", str(requirements / "base.in"), "-c", str(requirements / line.lock), *packages]
    with open(log, "ab") as output:
        try:
            ended = subprocess.run(asked, stdout=output, stderr=output, timeout=INSTALL_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnfitBoxError(f"the packages could not be installed on the instance: {error}") from error
    if ended.returncode:
        raise UnfitBoxError(f"the packages could not be installed on the instance: {_last_line(log)}")
    ready.write_text(line.lock)


def start_download(box: Path, wanted: Wanted, line: CudaLine, log: Path) -> subprocess.Popen[bytes] | None:
    """The model's weights come while the packages install, by the Hub's own client in an environment of its own."""
    if not wanted.model:
        return None
    pins = (box / "trainer/requirements" / line.lock).read_text().split()
    version = next((pin for pin in pins if pin.startswith("huggingface-hub==")), "huggingface-hub")
    token = box / "job" / TOKEN_FILE
    environment = dict(os.environ)
    if token.exists():
        environment["HF_TOKEN"] = token.read_text().strip()
    with open(log, "ab") as output:
        asked = [_uv(), "tool", "run", "--python", sys.executable, "--from", version, "hf", "download", wanted.model]
        asked += ["--exclude", "original/*"]
        return subprocess.Popen(asked, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)


def cuda_build(box: Path) -> str | None:
    """The CUDA version that the installed torch was built for; None: a CPU build. Read, not imported: an import takes seconds."""
    for path in (box / "env").glob("lib/python3*/site-packages/torch/version.py"):
        found = re.search(r"^cuda[^=\n]*=\s*['\"]([\d.]+)['\"]", path.read_text(), re.MULTILINE)
        return found[1] if found else None
    return None


def prepare(box: Path, progress: Progress) -> Path:
    """Everything before the supervisor; returns its config file. Raises UnfitBoxError or ConfigError."""
    started_at = time.time()
    wanted = Wanted(**json.loads((box / "job/box.json").read_text()))
    submit = json.loads((box / "job/submit.json").read_text())
    progress.emit(Kind.PHASE, name="preparing")
    line = look(wanted, box)
    progress.emit(Kind.PHASE, name="installing")
    download = start_download(box, wanted, line, box / "work/download.log")
    install(box, line, box / "work/setup.log", wanted.packages)
    on_gpu = cuda_build(box) is not None
    if not on_gpu and os.environ.get(MAY_TRAIN_ON_CPU) != "1":
        raise UnfitBoxError("the torch that was installed on the instance has no CUDA")
    if download is not None:
        progress.emit(Kind.PHASE, name="downloading")
        if download.wait() != 0:
            progress.notice(f"the model's download failed and is tried again by the trainer: {_last_line(box / 'work/download.log')}")
        else:
            (box / "job" / TOKEN_FILE).unlink(missing_ok=True)
    changes: dict[str, Any] = {"out_dir": str(box / "work"), "require_gpu": on_gpu}
    if (box / "model/config.json").exists():
        changes["model"] = str(box / "model")
    if submit.get("resume"):
        changes["resume_from"] = str(box / "resume" / submit["resume"])
    if submit.get("stop_in_s") is not None:
        changes["soft_deadline_at"] = started_at + float(submit["stop_in_s"])
    config = dataclasses.replace(load_config(box / "job/config.json"), **changes)
    write_atomically(box / "job/run.json", dump_config(config))
    progress.notice(f"the instance was ready after {time.time() - started_at:.0f} s ({line.lock})")
    return box / "job/run.json"


def main(arguments: list[str]) -> int:
    """Prepare and become the supervisor; returns an exit code only when that was not possible."""
    box = Path(arguments[0])
    with Progress(box / "work" / PROGRESS_FILE) as progress:
        try:
            config = prepare(box, progress)
        except (UnfitBoxError, ConfigError, OSError, ValueError, TypeError, KeyError) as error:
            code = ExitCode.BAD_CONFIG if isinstance(error, ConfigError) else ExitCode.UNFIT_BOX
            progress.emit(Kind.END, exit_code=int(code), reason=str(error))
            write_atomically(box / "work" / RESULT_FILE, json.dumps({"v": CONTRACT_VERSION, "exit_code": int(code), "reason": str(error)}))
            return code
    sys.stdout.flush()
    return os.execv(sys.executable, [sys.executable, "-P", "-m", "trainer", str(config)])  # noqa: S606 - the same Python, no shell


def _uv() -> str:
    found = shutil.which("uv")
    if found is None:
        raise UnfitBoxError("the instance has lost its uv")
    return found


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:200] if lines else "it said nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
