"""A Slurm cluster, through OpenSSH and the login node's own ``squeue``: the jobs, their GPUs, state and age.

SkyPilot rents on Slurm by a batch job that carries the instance's name, so a job is an instance. Nothing is charged for
a job that waits, and what a running one costs is in no record of Slurm's: the prices are the user's. Lists; changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from orchestrator.backends.login_node import on_login_node
from orchestrator.backends.observers.names import own_name
from orchestrator.run.events import Instance
from orchestrator.run.ports import PortError

# Every state in which a job still holds its nodes or may yet get them. Fields: id, state, time held, nodes, GPUs a node, name.
_STATES = "PENDING,CONFIGURING,RUNNING,SUSPENDED,STOPPED,COMPLETING,RESIZING,REQUEUED,SIGNALING,STAGE_OUT,SPECIAL_EXIT,REQUEUE_HOLD"
_MARK = "cloudtune"  # tells squeue's lines from what a login shell says by itself
# One word for the remote shell, whichever it is: no character of it needs quoting.
_ASK = f"squeue --all --states={_STATES} --format={_MARK}:%i:%T:%M:%D:%b@%j"
_HEADER = re.compile(rf"^{_MARK}:JOBID:STATE:TIME:NODES:\S+@NAME$")
_ROW = re.compile(
    rf"^{_MARK}:(?P<id>[^:]+):(?P<state>[A-Z_]+):(?P<held>[0-9:-]+|INVALID|N/A):(?P<nodes>[0-9]+):(?P<gres>[^@]*)@(?P<name>.*)$"
)
_GPU = re.compile(r"\bgpu(?:[:=](?P<type>[A-Za-z_][\w.+-]*))?(?:[:=](?P<count>[0-9]+))?(?=\W|$)")
_HELD = re.compile(r"^(?:(?:(?P<days>[0-9]+)-)?(?P<hours>[0-9]+):)?(?P<minutes>[0-9]+):(?P<seconds>[0-9]+)$")
_WAITS = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")  # no node is held


class SlurmObserver:
    """The Observer port for one cluster.

    cluster: its name in the address book. prices: GPU name -> dollars an hour for one; a GPU that is not in it counts as the
    dearest that is. address_book: an OpenSSH client's configuration, the one that SkyPilot reads.
    """

    def __init__(self, cluster: str, prices: Mapping[str, float], address_book: Path | None = None) -> None:
        self.title = f"the jobs of Slurm cluster {cluster}"
        self._cluster = cluster
        self._prices = dict(prices)
        self._address_book = address_book

    def instances(self, name: str) -> tuple[Instance, ...]:
        return tuple(instance for instance in self.everything() if instance.name == name)

    def everything(self) -> tuple[Instance, ...]:
        return listed(on_login_node(self._cluster, [_ASK], "did not say what exists", self._address_book), self._prices)


def listed(text: str, prices: Mapping[str, float]) -> tuple[Instance, ...]:
    """cloudtune's instances in squeue's answer. PortError when it is no such answer; an empty text is none, not 'no jobs'."""
    lines = [line for line in text.splitlines() if line.startswith(f"{_MARK}:")]
    if not lines or not _HEADER.match(lines[0]):
        raise PortError("the Slurm cluster's answer is not a list of jobs")
    found = []
    for line in lines[1:]:
        row = _ROW.match(line)
        if row is None:
            raise PortError(f"a line of the Slurm cluster's answer cannot be read: {line[:200]}")
        name = own_name(row["name"].strip())
        if name is not None:
            found.append(_instance(row, name, prices))
    return tuple(found)


def _instance(row: re.Match[str], name: str, prices: Mapping[str, float]) -> Instance:
    waits = row["state"] in _WAITS
    kind, count = gpus(row["gres"])
    count *= int(row["nodes"])
    gpu, usd_per_hour = priced(kind, prices)
    return Instance(
        name=name,
        id=row["id"],
        ready=row["state"] == "RUNNING",
        gpu=gpu,
        count=count,
        usd_per_hour=0.0 if waits else usd_per_hour * count,
        age_s=None if waits else held_s(row["held"]),
        stopped=row["state"] in ("SUSPENDED", "STOPPED"),
    )


def gpus(gres: str) -> tuple[str, int]:
    """A node's GPUs as squeue writes them: ``gres:gpu:T4:1``, ``gres/gpu:a100=2``, ``gpu:4``, ``N/A``; ('', 0) when there is none."""
    kind, count = "", 0
    for found in _GPU.finditer(gres):
        kind = kind or found["type"] or ""
        count += int(found["count"] or 1)
    return kind, count


def priced(kind: str, prices: Mapping[str, float]) -> tuple[str, float]:
    """The name in ``prices`` of the GPU that Slurm calls ``kind``, and its price; the longest name of those that fit.

    Administrators write ``nvidia_h100_80gb_hbm3`` for an H100-80GB: a name fits when its words are in ``kind``, in order.
    One that fits none keeps its own name, and counts as the dearest: never too little.
    """
    fitting = [gpu for gpu in prices if _within(_words(gpu), _words(kind))]
    if not fitting:
        return kind, max(prices.values(), default=0.0)
    gpu = max(fitting, key=lambda one: len(_words(one)))
    return gpu, prices[gpu]


def held_s(text: str) -> float | None:
    """Seconds of squeue's ``D-HH:MM:SS`` (days and hours only when there are some); None when it does not know."""
    found = _HELD.match(text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.group("days", "hours", "minutes", "seconds"))
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _words(name: str) -> list[str]:
    return re.split(r"[-_\s]+", name.lower())


def _within(words: list[str], longer: list[str]) -> bool:
    rest = iter(longer)
    return all(word in rest for word in words)
