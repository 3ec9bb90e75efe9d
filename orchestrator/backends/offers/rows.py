"""A price file's rows as offers: one format for the bundled snapshot and for the cache; nothing absurd gets through.

Columns: cloud,region,instance_type,gpu,count,vcpus,usd_per_hour,spot_usd_per_hour,spot_region,as_of,source,left_out.
A row with ``left_out`` is kept for its reason only. Must not open files or use the network.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.backends.offers.clouds import guard_of, proof_of, provisioning_s
from orchestrator.plan.cards import usable_gib
from orchestrator.plan.offers import Offer

COLUMNS = (
    "cloud", "region", "instance_type", "gpu", "count", "vcpus", "usd_per_hour", "spot_usd_per_hour", "spot_region", "as_of", "source",
    "left_out",
)  # fmt: skip
HIGHEST_USD_PER_GPU_HOUR = 50.0  # above any card's price on any cloud: such a row is a fault of its source
LOWEST_USD_PER_GPU_HOUR = 0.01
MOST_GPUS = 64
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class BadPriceFile(ValueError):
    """The file as a whole cannot be used: another header, cut off, not text."""


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """A row that is not believed."""

    where: str  # source and line
    title: str
    why: str


@dataclass(frozen=True, kw_only=True)
class PriceList:
    """What a price file holds."""

    offers: tuple[Offer, ...]
    quarantined: tuple[Quarantined, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()  # title, reason


def price_problem(usd_per_hour: float, count: int) -> str | None:
    """Why a rate cannot be one, or None."""
    if not math.isfinite(usd_per_hour):
        return "the price is not a number"
    if usd_per_hour <= 0.0:
        return "the price is 0 or below"
    each = usd_per_hour / max(1, count)
    if each > HIGHEST_USD_PER_GPU_HOUR or each < LOWEST_USD_PER_GPU_HOUR:
        return f"${each:.4g} a GPU and hour is absurd"
    return None


def read_rows(lines: Iterable[str], name: str) -> PriceList:
    """Offers of a price file. ``name`` is for messages. Raises BadPriceFile when the file as a whole is no good."""
    reader = csv.reader(lines, strict=True)
    offers: list[Offer] = []
    doubted: list[Quarantined] = []
    left_out: list[tuple[str, str]] = []
    try:
        header = next(reader, None)
        if header is None or tuple(header) != COLUMNS:
            raise BadPriceFile(f"{name} is not a price file of this version")
        for row in reader:
            if len(row) != len(COLUMNS):
                raise BadPriceFile(
                    f"{name}:{reader.line_num}: {len(row)} columns in place of {len(COLUMNS)}: the file is cut off or damaged"
                )
            if row[11]:
                left_out.append((f"{row[0]} {row[2]} {row[3]}", row[11]))
                continue
            for found in _offers_of(row, f"{name}:{reader.line_num}"):
                (offers if isinstance(found, Offer) else doubted).append(found)  # type: ignore[arg-type]
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadPriceFile(f"{name}: {error}") from error
    return PriceList(offers=tuple(offers), quarantined=tuple(doubted), left_out=tuple(left_out))


def _offers_of(row: list[str], where: str) -> Iterator[Offer | Quarantined]:
    """The on-demand and the spot offer of a row, each believed or not by itself."""
    cloud, region, instance_type, gpu, count_text, _, on_demand, spot, spot_region, as_of, source, _ = row
    title = f"{cloud} {instance_type} {gpu}"
    try:
        count = int(count_text)
    except ValueError:
        yield Quarantined(where=where, title=title, why=f"{count_text!r} is no number of GPUs")
        return
    if not 1 <= count <= MOST_GPUS or not cloud or not gpu or _DATE.fullmatch(as_of) is None:
        yield Quarantined(where=where, title=title, why="a cloud, a GPU, a count from 1 to 64 and a date are needed")
        return
    for text, is_spot in ((on_demand, False), (spot, True)):
        if not text:
            continue
        try:
            rate = float(text)
        except ValueError:
            rate = math.nan
        problem = price_problem(rate, count)
        if problem is not None:
            yield Quarantined(where=where, title=title + (" spot" if is_spot else ""), why=problem)
            continue
        yield offer_of(
            cloud=cloud, region=(spot_region or region) if is_spot else region, instance_type=instance_type, gpu=gpu, count=count,
            usd_per_hour=rate, spot=is_spot, as_of=as_of, source=source,
        )  # fmt: skip


def offer_of(
    *, cloud: str, region: str, instance_type: str, gpu: str, count: int, usd_per_hour: float, spot: bool, as_of: str, source: str
) -> Offer:
    """An offer with everything that is known of its cloud and its card filled in."""
    return Offer(
        backend="skypilot", cloud=cloud, region=region, instance_type=instance_type, gpu=gpu, count=count,
        usable_gib=usable_gib(cloud, gpu, instance_type), usd_per_hour=usd_per_hour, spot=spot, guard=guard_of(cloud),
        proof=proof_of(cloud), as_of=as_of, source=source, provisioning_s=provisioning_s(cloud),
    )  # fmt: skip
