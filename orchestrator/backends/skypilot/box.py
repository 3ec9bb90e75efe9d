"""The Remote port on a rented instance, over SSH: send the job, start it, listen, bring home.

On the instance everything lies in one folder, ``cloudtune/<name>`` below the folder where commands begin:
``trainer/`` (the code), ``job/`` (rows and config), ``model/`` (a model of the user's own), ``work/`` (what the trainer
writes), ``env/`` (the packages). ``trainer/start.sh`` starts the job once, however often it is asked.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backends.bundle import CONFIG_FILE, JOB_DIR, WORK_DIR, trainer_files
from orchestrator.backends.home import INCOMING_DIR
from orchestrator.backends.progress import MAX_READ_BYTES, parse_lines, parse_result
from orchestrator.backends.skypilot.shell import Shell
from orchestrator.ledger.paths import private
from orchestrator.run.ports import Cargo, News, Parcel, PortError
from trainer.contract import ADAPTER_DIR, CHECKPOINT_DIR, MANIFEST_FILE, PROGRESS_FILE, RESULT_FILE, STOP_FILE, file_sha256, load_config

MODEL_DIR = "model"
RESUME_DIR = "resume"
LOGS_DIR = "logs"  # in the run's folder
FETCH_S = 1800.0  # longest download of one parcel
VERIFY_S = 300.0

# $1: the box's folder; standard input: "sha256  path" lines. Prints those that are there and right.
_SAME = 'mkdir -p "$1/work" && cd "$1" && sha256sum -c - 2>/dev/null | sed -n "s/: OK$//p"'
_RIGHT = 'cd "$1" && sha256sum -c --quiet - 1>&2'
# $1: the box's folder; standard input: job/submit.json. Says whether the supervisor, who holds the lock while it lives, is running.
_ORDER = f"""cd "$1" || exit 3
flock -n .job.lock true || {{ echo running; exit 0; }}
cat >job/.submit.tmp && mv job/.submit.tmp job/submit.json || exit 4
rm -f {WORK_DIR}/{RESULT_FILE} {WORK_DIR}/{STOP_FILE}
"""
_START = f'cd "$1" && exec sh trainer/start.sh "$(pwd)" >>{WORK_DIR}/supervisor.log 2>&1'
_STARTED = f"""cd "$1" || exit 3
i=0
while [ $i -lt 100 ] && [ ! -f {WORK_DIR}/{RESULT_FILE} ] && flock -n .job.lock true; do sleep 0.1; i=$((i+1)); done
[ $i -lt 100 ]
"""
# $1: the box's folder; $2: byte offset + 1; $3: most bytes. First line: alive, bytes of result, bytes of progress.
_POLL = f"""cd "$1" || exit 3
touch heartbeat
alive=1; flock -n .job.lock true && alive=0
r={WORK_DIR}/{RESULT_FILE}; p={WORK_DIR}/{PROGRESS_FILE}
n=0; [ -f $r ] && n=$(wc -c <$r)
m=0; [ -f $p ] && m=$(tail -c "+$2" $p | head -c "$3" | wc -c)
echo $alive $n $m
[ $n -eq 0 ] || head -c $n $r
[ $m -eq 0 ] || tail -c "+$2" $p | head -c $m
"""
_TOKEN = f'cd "$1/{JOB_DIR}" && umask 077 && cat >hub_token'  # never an argument, a log line or a file of ours
_ASK_STOP = f'cd "$1" && : >{WORK_DIR}/{STOP_FILE}'
_COMPLETE = f'cd "$1/{WORK_DIR}/{CHECKPOINT_DIR}" && for d in step-*; do [ -f "$d/{MANIFEST_FILE}" ] && echo "$d"; done; true'
_LOGS = f'cd "$1/{WORK_DIR}" && for f in *.log; do echo "== $f"; tail -c 20000 "$f"; done; true'


@dataclass(frozen=True, kw_only=True)
class Load:
    """What goes to the box besides the trainer and the bundle."""

    disk_gib: float = 0.0  # free space that the job needs there
    hub_model: str = ""  # a Hub id to download while the packages install
    hub_token: bool = False  # the download needs the user's token; the instance forgets it once the model is there
    folders: tuple[tuple[Path, str], ...] = ()  # (here, name there): the model's folder, a package that carries it
    packages: tuple[str, ...] = ()  # to install besides the trainer's own


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the upload manifest."""

    path: Path
    name: str
    size: int  # bytes


class SkyBox:
    """Instances of one run. ``shell``: the shell of an instance by its name; ``gpus``: how many were ordered for it."""

    def __init__(
        self,
        bundle: Path,
        home: Path,
        load: Load,
        shell: Callable[[str], Shell],
        gpus: Callable[[str], int],
        on_bytes: Callable[[int, int], None] = lambda sent, total: None,
    ) -> None:
        self._bundle = bundle
        self._home = home
        self._load = load
        self._shell = shell
        self._gpus = gpus
        self._on_bytes = on_bytes

    def upload(self, name: str) -> tuple[int, int]:
        shell, folder = self._shell(name), box_folder(name)
        wanted = {"gpus": self._gpus(name), "disk_gib": self._load.disk_gib, "model": self._load.hub_model, "packages": self._load.packages}
        try:
            order = private(self._home / "orders") / f"{name}.json"
            order.write_text(json.dumps(wanted), encoding="utf-8")
            entries = [*manifest(self._bundle, self._load), Entry(path=order, name=f"{JOB_DIR}/box.json", size=order.stat().st_size)]
            sums = {entry.name: f"{file_sha256(entry.path)}  {entry.name}\n" for entry in entries}
        except OSError as error:
            raise PortError(f"upload: {error.filename}: {error.strerror or error}") from error
        same = set(shell.run(_SAME, folder, given="".join(sums.values()).encode(), bound_s=VERIFY_S).decode().splitlines())
        missing = [entry for entry in entries if entry.name not in same]
        if missing:
            total = sum(entry.size for entry in missing)
            shell.send([(entry.path, entry.name) for entry in missing], folder, lambda sent: self._on_bytes(sent, total))
            shell.run(_RIGHT, folder, given="".join(sums[entry.name] for entry in missing).encode(), bound_s=VERIFY_S)
        if self._load.hub_token:
            shell.run(_TOKEN, folder, given=_hub_token().encode())
        return len(missing), sum(entry.size for entry in missing)

    def submit(self, name: str, stop_in_s: float | None, checkpoint: Path | None) -> str:
        shell, folder = self._shell(name), box_folder(name)
        if checkpoint is not None:
            files = [(path, path.relative_to(checkpoint.parent).as_posix()) for path in sorted(checkpoint.rglob("*")) if path.is_file()]
            shell.send(files, f"{folder}/{RESUME_DIR}")
        order = {"stop_in_s": stop_in_s, "resume": checkpoint.name if checkpoint is not None else ""}
        if shell.run(_ORDER, folder, given=json.dumps(order).encode()).strip() != b"running":
            shell.detach(_START, folder)
            shell.run(_STARTED, folder)
        return f"{name}/supervisor"

    def poll(self, name: str, cursor: int) -> News:
        shell = self._shell(name)
        said = shell.run(_POLL, box_folder(name), str(cursor + 1), str(MAX_READ_BYTES))
        news = heard(said, cursor)
        if news.lost or (news.result is not None and news.result.exit_code != 0):
            self._keep_logs(name, shell)
        return news

    def ask_stop(self, name: str) -> None:
        self._shell(name).run(_ASK_STOP, box_folder(name))

    def fetch(self, name: str, cargo: Cargo) -> Parcel:
        shell, work = self._shell(name), f"{box_folder(name)}/{WORK_DIR}"
        source, step = f"{work}/{ADAPTER_DIR}", 0
        if cargo == "checkpoint":
            listed = shell.run(_COMPLETE, box_folder(name)).decode(errors="replace").split()
            steps = [int(one.removeprefix("step-")) for one in listed if one.removeprefix("step-").isdecimal()]
            if not steps:
                raise PortError("there is no checkpoint on the instance")
            step = max(steps)
            source = f"{work}/{CHECKPOINT_DIR}/step-{step}"
        target = self._home / INCOMING_DIR / Path(source).name
        try:
            if target.exists():
                shutil.rmtree(target)
            private(target)
        except OSError as error:
            raise PortError(f"{cargo}: {error.strerror or error}") from error
        shell.receive(source, target, FETCH_S)
        return Parcel(cargo=cargo, step=step, place=target)

    def _keep_logs(self, name: str, shell: Shell) -> None:
        """What was printed on the instance, for whoever wants to know why it failed; that they cannot be had is no failure."""
        try:
            logs = shell.run(_LOGS, box_folder(name))
            (private(self._home / LOGS_DIR) / f"{name}.log").write_bytes(logs)
        except (PortError, OSError):
            return


def _hub_token() -> str:
    """The token that the Hub's own client would use here. Raises PortError when there is none any more."""
    from huggingface_hub import get_token

    token = get_token()
    if token is None:
        raise PortError("the model needs your Hub token, and there is none on this machine any more: hf auth login")
    return str(token)


def box_folder(name: str) -> str:
    """The box's folder on the instance, relative to where commands begin there."""
    return f"cloudtune/{name}"


def manifest(bundle: Path, load: Load) -> list[Entry]:
    """Every file that is sent, with its size; nothing else is. Raises PortError when the training file is not among them."""
    pairs = [*trainer_files()]
    pairs += [(path, f"{JOB_DIR}/{path.name}") for path in sorted(bundle.iterdir()) if path.is_file()]
    for folder, name in load.folders:
        inside = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        pairs += [(path, f"{name}/{path.relative_to(folder).as_posix()}") for path in inside]
    names = {name for _, name in pairs}
    needed = f"{JOB_DIR}/{Path(load_config(bundle / CONFIG_FILE).train_file).name}"
    if needed not in names:
        raise PortError(f"the training file {needed} is missing from the upload")
    if odd := [name for name in names if "\n" in name or "\\" in name]:
        raise PortError(f"a file's name cannot be sent: {odd[0]!r}")
    return [Entry(path=path, name=name, size=path.stat().st_size) for path, name in pairs]


def heard(said: bytes, cursor: int) -> News:
    """What ``_POLL`` printed, as News. Raises PortError when it is torn."""
    head, _, rest = said.partition(b"\n")
    try:
        alive, result_bytes, progress_bytes = (int(word) for word in head.split())
    except ValueError as error:
        raise PortError(f"the instance's answer is not understood: {head[:80]!r}") from error
    if len(rest) != result_bytes + progress_bytes:
        raise PortError("the instance's answer is torn")
    raw = rest[result_bytes:]
    raw = raw[: raw.rfind(b"\n") + 1]
    more = len(raw) > MAX_READ_BYTES // 2
    result = parse_result(rest[:result_bytes].decode(errors="replace")) if result_bytes and not more else None
    return News(cursor=cursor + len(raw), raw=raw, lines=parse_lines(raw), result=result, lost=not alive and result is None and not more)
