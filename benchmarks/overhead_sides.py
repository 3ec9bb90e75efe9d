"""One job on the Vast rig, rented twice: by ``cloudtune run``, and by a plain ``sky launch`` as its users write it.

Both sides send the same trainer, rows, config and model, install the same packages with uv from the same wheels, and bring
home the same adapter. Each returns the instants (unix seconds, one machine's clock) that ``billed_phases`` reckons with.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.billed_phases import Marks
from benchmarks.sky_query_repair import PLUGIN
from orchestrator.ledger.database import Database
from orchestrator.ledger.journal import Ledger
from orchestrator.run import events as ev
from tests.rigs.desk import RentingDesk
from tests.rigs.vast.rig import PROJECT, VastRig
from trainer.contract import Kind, verify_manifest
from trainer.progress import read_progress

BOUND_S = 400.0
CLUSTER = "plain"
DISK_GB = 20
SETUP = """\
set -e
mkdir -p work && date +%s.%N >work/setup-began
command -v uv >/dev/null || export PATH=$HOME/.local/bin:$PATH
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python --only-binary :all: -r trainer/requirements/base.in -c trainer/requirements/cu130.lock
date +%s.%N >work/setup-ended
"""
RUN = "PYTHONPATH=. env/bin/python -P -m trainer job/config.json\n"
READY_LINE = re.compile(r"(\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?).*SSH Connection ready")
DONE_LINE = re.compile(r"(\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?).*Cluster launched")


@contextmanager
def market() -> Iterator[VastRig]:
    """A rig whose machines have the driver that the wheels need."""
    with VastRig() as rig:
        rig.cloud.fit()
        yield rig


def billed(rig: VastRig) -> dict[str, Any]:
    """The one instance that was rented, by the emulator's books."""
    [row] = rig.truth()
    if (row["gpu_name"], row["ended_by"]) != ("RTX 4090", "account"):
        raise RuntimeError(f"another instance than ordered, or not ended by its renter: {row}")
    return row


def work(progress: Path) -> tuple[float, float]:
    """When the trainer began to score or train, and when it had finished its last score or step."""
    kinds = (Kind.STEP, Kind.EVALUATION, Kind.CHECKPOINT, Kind.SAMPLE)
    lines = list(read_progress(progress))
    began = [line["t"] for line in lines if line["kind"] == Kind.PHASE and line["name"] in ("evaluating_before", "training")]
    ended = [line["t"] for line in lines if line["kind"] in kinds or (line["kind"] == Kind.PHASE and line["name"] == "saving")]
    return float(began[0]), float(ended[-1])


def first_line(progress: Path, kind: Kind) -> float:
    """When the trainer first wrote a line of this kind."""
    return next(float(line["t"]) for line in read_progress(progress) if line["kind"] == kind)


# --- cloudtune ------------------------------------------------------------------------------------------------------


def by_cloudtune(folder: Path, model: Path) -> tuple[Marks, Path]:
    """``cloudtune run``, to its end. Returns the instants and the job's bundle, which the other side trains from."""
    with market() as rig:
        desk = RentingDesk(rig, folder, model)
        said = desk.cloudtune("run", "--budget", "5", "--infra", "vast", "-o", "json", bound_s=BOUND_S)
        if said.returncode != 0:
            raise RuntimeError(f"cloudtune run ended with {said.returncode}: {said.stderr[-1500:]}")
        row = billed(rig)
    verify_manifest(desk.job / "out/adapter")
    [home] = (desk.state / "runs").iterdir()
    happened = Ledger(Database(desk.state / "ledger.sqlite")).events(home.name)
    began, ended = work(home / "progress-1.jsonl")
    return Marks(
        created=row["created_at"],
        running=row["running_at"],
        reached=next(e.at for e in happened if isinstance(e, ev.Seen) and any(i.ready for i in e.instances)),
        equipped=_intended(happened, ev.Upload),
        sent=_first(happened, ev.Uploaded),
        installing=first_line(home / "progress-1.jsonl", Kind.PHASE),
        installed=first_line(home / "progress-1.jsonl", Kind.NOTICE),  # "the instance was ready after"
        working=began,
        worked=ended,
        pulled=max(path.stat().st_ctime for path in (home / "adapter").iterdir()),
        ended=row["ended_at"],
        unlisted=next(e.at for e in reversed(happened) if isinstance(e, ev.Seen) and not e.instances),
    ), home / "bundle"


def _intended(happened: Iterable[ev.AnyEvent], command: type) -> float:
    return next(e.at for e in happened if isinstance(e, ev.Intended) and isinstance(e.command, command))


def _first(happened: Iterable[ev.AnyEvent], kind: type[ev.Event]) -> float:
    return next(e.at for e in happened if isinstance(e, kind))


# --- plain SkyPilot -------------------------------------------------------------------------------------------------


def write_task(folder: Path, bundle: Path, model: Path) -> Path:
    """The workdir (trainer, rows, config, model) and the task file. Returns the task file."""
    workdir = folder / "workdir"
    shutil.copytree(PROJECT / "trainer", workdir / "trainer", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(bundle, workdir / "job")
    shutil.copytree(model, workdir / "model")
    config = workdir / "job/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model": "model", "out_dir": "../work"}))
    task = {
        "resources": {"infra": "vast", "accelerators": {"RTX4090": 1}, "disk_size": DISK_GB},
        "workdir": str(workdir),
        "setup": SETUP,
        "run": RUN,
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    return folder / "task.yaml"


def by_sky(folder: Path, model: Path, bundle: Path) -> Marks:
    """``sky launch``, rsync of the adapter, ``sky down``; the server is started before, and stopped after, on nobody's bill."""
    task, home, out = write_task(folder, bundle, model), folder / "home", folder / "out"
    out.mkdir()
    with market() as rig:
        rig.make_home(home)
        (home / ".sky/plugins.yaml").write_text(yaml.safe_dump({"plugins": [{"class": PLUGIN}]}))
        (home / ".sky/config.yaml").write_text(yaml.safe_dump({"allowed_clouds": ["vast"]}))
        env = {"HOME": str(home), "PYTHONPATH": str(PROJECT)}

        def call(*argv: str) -> None:
            done = rig.run(argv, env=env, cwd=folder, timeout=BOUND_S, stdin=subprocess.DEVNULL)
            (folder / "said.txt").open("a").write(f"{time.time():.2f} {argv}\n{done.stdout}{done.stderr}\n")
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(argv[:3])} ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")

        sky = str(Path(sys.executable).with_name("sky"))
        call(sky, "api", "start")
        call(sky, "launch", "-y", "-c", CLUSTER, str(task))
        ssh = f"ssh -F {home}/.sky/generated/ssh/{CLUSTER} -i {home}/.sky/generated/ssh-keys/{CLUSTER}.key"  # ssh itself does not ask HOME
        there = [f"{CLUSTER}:sky_workdir/work/{name}" for name in ("adapter", "progress.jsonl", "setup-began", "setup-ended")]
        call("rsync", "-az", "-e", ssh, *there, str(out))
        pulled = time.time()
        call(sky, "down", "-y", CLUSTER)
        row = billed(rig)
        call(sky, "api", "stop")
    verify_manifest(out / "adapter")
    [log] = (home / "sky_logs").rglob("provision.log")
    began, ended = work(out / "progress.jsonl")
    return Marks(
        created=row["created_at"],
        running=row["running_at"],
        reached=logged(log, READY_LINE),
        equipped=logged(log, DONE_LINE),
        sent=log.with_name("workdir_sync.log").stat().st_mtime,  # its last word
        installing=float((out / "setup-began").read_text()),
        installed=float((out / "setup-ended").read_text()),
        working=began,
        worked=ended,
        pulled=pulled,
        ended=row["ended_at"],
        unlisted=row["ended_at"],
    )


def logged(log: Path, line: re.Pattern[str]) -> float:
    """When SkyPilot's log says so, this year and in this machine's time."""
    found = line.search(log.read_text(errors="replace"))
    if found is None:
        raise RuntimeError(f"{log} has no line like {line.pattern!r}")
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in found[1] else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(f"{datetime.now().year}-{found[1]}", form).timestamp()
