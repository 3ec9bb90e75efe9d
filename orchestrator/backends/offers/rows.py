"""A price file's rows as offers: one format for the bundled snapshot and for the cache; nothing absurd gets through.

Columns: cloud,region,instance_type,gpu,count,vcpus,usd_per_hour,spot_usd_per_hour,spot_region,as_of,source,left_out.
A row with ``left_out`` is kept for its reason only. Must not open files or use the network.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from orchestrator.backends.offers.clouds import guard_of, proof_of, provisioning_s
from orchestrator.plan.cards import usable_gib
from orchestrator.plan.offers import Offer

COLUMNS = (
    "cloud", "region", "instance_type", "gpu", "count", "vcpus", "usd_per_hour", "spot_usd_per_hour", "spot_region", "as_of", "source",
    "left_out",
)  # fmt: skip
END = "end"  # first column of the last row; the second holds the number of rows
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


def read_rows(lines: Iterable[str], name: str, keeps: Callable[[str, str], bool] | None = None) -> PriceList:
    """Offers of a price file: of each (cloud, type, GPU, count, spot) the cheapest region, on demand and spot.

    ``name`` is for messages. ``keeps``: whether a (cloud, region) is of interest; others are skipped. The last row says how
    many there are, so that a file cut off anywhere is noticed. Raises BadPriceFile when the file as a whole is no good.
    """
    reader = csv.reader(lines, strict=True)
    best: dict[tuple[str, str, str, str, bool], tuple[float, list[str]]] = {}
    doubted: list[Quarantined] = []
    left_out: list[tuple[str, str]] = []
    count, ended = 0, False
    try:
        header = next(reader, None)
        if header is None or tuple(header) != COLUMNS:
            raise BadPriceFile(f"{name} is not a price file of this version")
        for row in reader:
            if len(row) != len(COLUMNS) or ended:
                raise BadPriceFile(f"{name}:{reader.line_num}: the file is cut off or damaged")
            if row[0] == END:
                ended = row[1] == str(count)
                continue
            count += 1
            if row[11]:
                left_out.append((f"{row[0]} {row[2]} {row[3]}", row[11]))
                continue
            for text, region, spot in ((row[6], row[1], False), (row[7], row[8] or row[1], True)):
                if not text or (keeps is not None and not keeps(row[0], region)):
                    continue
                try:
                    rate = float(text)
                except ValueError:
                    rate = math.nan
                problem = row_problem(row, rate)
                key = (row[0], row[2], row[3], row[4], spot)
                if problem is not None:
                    title = f"{row[0]} {row[2]} {row[3]}{' spot' if spot else ''}"
                    doubted.append(Quarantined(where=f"{name}:{reader.line_num}", title=title, why=problem))
                elif key not in best or rate < best[key][0]:
                    best[key] = (rate, row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadPriceFile(f"{name}: {error}") from error
    if not ended:
        raise BadPriceFile(f"{name} is cut off: its last line is missing, or says another number of rows")
    return PriceList(offers=tuple(_offer(key, *found) for key, found in best.items()), quarantined=tuple(doubted), left_out=tuple(left_out))


def row_problem(row: list[str], rate: float) -> str | None:
    """Why a row is not believed, or None."""
    count = row[4]
    if not count.isascii() or not count.isdigit() or not 1 <= int(count) <= MOST_GPUS:
        return f"{count!r} is no number of GPUs from 1 to {MOST_GPUS}"
    if not row[0] or not row[3] or not _is_date(row[9]):
        return "a cloud, a GPU and a date are needed"
    return price_problem(rate, int(count))


@lru_cache(maxsize=64)
def _is_date(text: str) -> bool:
    """Whether this is a day that exists, as YYYY-MM-DD. A file has one or few of them."""
    try:
        return _DATE.fullmatch(text) is not None and date.fromisoformat(text) is not None
    except ValueError:
        return False


def _offer(key: tuple[str, str, str, str, bool], rate: float, row: list[str]) -> Offer:
    cloud, instance_type, gpu, count, spot = key
    region = (row[8] or row[1]) if spot else row[1]
    return offer_of(cloud=cloud, region=region, instance_type=instance_type, gpu=gpu, count=int(count), usd_per_hour=rate, spot=spot,
                    as_of=row[9], source=row[10])  # fmt: skip


def offer_of(
    *, cloud: str, region: str, instance_type: str, gpu: str, count: int, usd_per_hour: float, spot: bool, as_of: str, source: str
) -> Offer:
    """An offer with everything that is known of its cloud and its card filled in."""
    return Offer(
        backend="skypilot", cloud=cloud, region=region, instance_type=instance_type, gpu=gpu, count=count,
        usable_gib=usable_gib(cloud, gpu, instance_type), usd_per_hour=usd_per_hour, spot=spot, guard=guard_of(cloud),
        proof=proof_of(cloud), as_of=as_of, source=source, provisioning_s=provisioning_s(cloud),
    )  # fmt: skip
