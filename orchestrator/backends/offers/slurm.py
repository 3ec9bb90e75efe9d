"""What a Slurm cluster has, from its own ``sinfo``, as offers: one a partition, GPU and count on a node.

Prices are the user's, from SkyPilot's settings (``slurm.cluster_configs.<cluster>.pricing.accelerators``); a cluster
without prices costs nothing. A GPU that is not priced where others are counts as the dearest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from orchestrator.backends.login_node import ADDRESS_BOOK, on_login_node
from orchestrator.backends.observers.slurm import gpus, held_s, priced
from orchestrator.backends.offers.clouds import guard_of, proof_of, provisioning_s
from orchestrator.estimate.gpus import all_gpus
from orchestrator.plan.cards import usable_gib
from orchestrator.plan.offers import Offer
from orchestrator.run.ports import PortError

MOST_GPUS = 8  # of one node: offers for each count up to here
_MARK = "cloudtune"
_ASK = f"sinfo --noheader --format={_MARK}:%R:%a@%G"
_ASK_LIMITS = f"sinfo --noheader --format={_MARK}:%R@%l"
_ROW = re.compile(rf"^{_MARK}:(?P<partition>[^:@]+):(?P<up>[a-z]+)@(?P<gres>.*)$")


def clusters(address_book: Path | None = None) -> tuple[str, ...]:
    """The clusters in the address book, by its ``Host`` lines. Raises OSError."""
    text = (address_book or Path.home() / ADDRESS_BOOK).read_text(encoding="utf-8")
    names = [name for line in text.splitlines() if re.match(r"\s*Host\s", line, re.IGNORECASE) for name in line.split()[1:]]
    return tuple(name for name in names if not re.search(r"[*?!]", name))


def prices(cluster: str, settings: Path | None = None) -> dict[str, float]:
    """{GPU name: dollars an hour for one} of a cluster; {} when the user has stated none. Raises ValueError."""
    path = settings or Path.home() / ".sky/config.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    found = document
    for key in ("slurm", "cluster_configs", cluster, "pricing", "accelerators"):
        found = found.get(key) if isinstance(found, dict) else None
    return {str(gpu): float(rate) for gpu, rate in (found or {}).items()}


def slurm_offers(cluster: str, rates: Mapping[str, float], today: str, address_book: Path | None = None) -> tuple[Offer, ...]:
    """Ask the cluster. Raises PortError when it does not answer."""
    return offers_in(on_login_node(cluster, [_ASK], "did not say what it has", address_book), cluster, rates, today)


def offers_in(text: str, cluster: str, rates: Mapping[str, float], today: str) -> tuple[Offer, ...]:
    """The offers in sinfo's answer. Raises PortError when no line of it is one."""
    rows = [found for line in text.splitlines() if (found := _ROW.match(line))]
    if not rows:
        raise PortError(f"Slurm cluster {cluster} did not answer with a list of partitions")
    offers: dict[tuple[str, str, int], Offer] = {}
    for row in rows:
        kind, most = gpus(row["gres"])
        name, each = priced(kind, rates)
        if row["up"] != "up" or not kind:
            continue
        gpu = name if name in rates else canonical(kind)
        for count in range(1, min(most, MOST_GPUS) + 1):
            offers[row["partition"], gpu, count] = Offer(
                backend="skypilot", cloud="slurm", region=f"{cluster}/{row['partition']}", gpu=gpu, count=count,
                usable_gib=usable_gib("slurm", gpu) or 0.0, usd_per_hour=each * count, guard=guard_of("slurm"), proof=proof_of("slurm"),
                as_of=today, source="your own prices" if rates else "no price is stated: it costs nothing",
                provisioning_s=provisioning_s("slurm"),
            )  # fmt: skip
    return tuple(offers.values())


def partition_limit_s(cluster: str, partition: str, address_book: Path | None = None) -> float | None:
    """The longest that a job may take in a partition, seconds; None: no limit. Raises PortError."""
    text = on_login_node(cluster, [_ASK_LIMITS], "did not say what it has", address_book)
    for line in text.splitlines():
        mark, _, rest = line.partition(":")
        name, _, limit = rest.partition("@")
        if mark == _MARK and name == partition:
            return None if limit.strip() == "infinite" else held_s(limit.strip())
    raise PortError(f"Slurm cluster {cluster} has no partition {partition}")


def canonical(kind: str) -> str:
    """The name in our table of cards that Slurm's administrators mean by ``nvidia_a100_80gb``, or their own."""
    table = {gpu.name: 0.0 for gpu in all_gpus()}
    return priced(kind, table)[0]
