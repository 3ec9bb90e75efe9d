"""Every offer there is to choose from: the bundled prices, each cloud's replaced by a newer cached file where there is one.

Cache: ``$XDG_CACHE_HOME/cloudtune/offers/<cloud>.csv`` and, from before the last refresh, ``<cloud>.csv.previous``. A file
that is damaged is named and ignored, and the one before it is used. Reads files; never the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.backends.offers.rows import BadPriceFile, PriceList, Quarantined, read_rows
from orchestrator.backends.offers.snapshot import FILE, snapshot
from orchestrator.plan.offers import Offer

OLD_DAYS = 30.0


@dataclass(frozen=True, kw_only=True)
class Market:
    """What is on sale, as far as is known here."""

    offers: tuple[Offer, ...]
    quarantined: tuple[Quarantined, ...]
    left_out: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    refreshed: tuple[str, ...]  # clouds whose prices are from the cache


def price_file(folder: Path, cloud: str) -> Path:
    """Where a cloud's refreshed prices are kept."""
    return folder / f"{cloud}.csv"


def previous(path: Path) -> Path:
    """The file that was replaced by the last refresh."""
    return path.with_name(path.name + ".previous")


def read_file(path: Path, keeps: Callable[[str, str], bool] | None = None) -> PriceList:
    """One price file. Raises BadPriceFile when it is damaged or cannot be read."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return read_rows(file, str(path), keeps)
    except OSError as error:
        raise BadPriceFile(f"{path} cannot be read: {error.strerror or error}") from error


def market(folder: Path, keeps: Callable[[str, str], bool] | None = None) -> Market:
    """All offers. ``folder``: the cache; ``keeps``: whether a (cloud, region) is of interest."""
    bundled = read_file(FILE, keeps) if keeps is not None else snapshot()
    newest: dict[str, str] = {}
    for offer in bundled.offers:
        newest[offer.cloud] = max(offer.as_of, newest.get(offer.cloud, ""))
    cached: dict[str, PriceList] = {}
    doubted = list(bundled.quarantined)
    warnings: list[str] = []
    for path in sorted(folder.glob("*.csv")) if folder.is_dir() else []:
        found = _usable(path, keeps, warnings)
        if found is None:
            continue
        cloud = path.stem
        doubted += found.quarantined
        if found.quarantined and not found.offers:
            warnings.append(f"{path} holds no price that is believed; the bundled prices are used (cloudtune offers refresh)")
        if max((o.as_of for o in found.offers), default="") >= newest.get(cloud, ""):
            cached[cloud] = found
    offers = [o for o in bundled.offers if o.cloud not in cached] + [o for found in cached.values() for o in found.offers]
    left_out = [item for item in bundled.left_out if item[0].split(" ")[0] not in cached]
    left_out += [item for found in cached.values() for item in found.left_out]
    return Market(
        offers=tuple(offers), quarantined=tuple(doubted), left_out=tuple(left_out), warnings=tuple(warnings), refreshed=tuple(cached)
    )


def _usable(path: Path, keeps: Callable[[str, str], bool] | None, warnings: list[str]) -> PriceList | None:
    """The file, or the one before it when it is damaged, or None; says so."""
    try:
        found = read_file(path, keeps)
        if any(offer.cloud != path.stem for offer in found.offers):
            raise BadPriceFile(f"{path} holds prices of another cloud")
        return found
    except BadPriceFile as error:
        before = previous(path)
        if before.is_file():
            try:
                found = read_file(before, keeps)
            except BadPriceFile:
                warnings.append(f"{error}; it and {before.name} are ignored, the bundled prices are used (cloudtune offers refresh)")
                return None
            warnings.append(f"{error}; it is ignored, the prices before it are used (cloudtune offers refresh)")
            return found
        warnings.append(f"{error}; it is ignored, the bundled prices are used (cloudtune offers refresh)")
        return None


def age_days(as_of: str, now: float) -> float:
    """Days from the start of an ISO date until ``now`` (seconds since 1970); negative when the date is still to come."""
    return (now - datetime.fromisoformat(as_of).replace(tzinfo=UTC).timestamp()) / 86400.0


def age_warnings(offers: tuple[Offer, ...], now: float) -> tuple[str, ...]:
    """What to say of the age of these prices: old ones, and a clock that is before them."""
    ages = [age_days(offer.as_of, now) for offer in offers if offer.as_of]
    said = []
    if ages and min(ages) < -1.0:
        said.append("this machine's clock is before the date of the newest price: ages are not right, and deadlines may not be")
    old = sum(age > OLD_DAYS for age in ages)
    if old:
        said.append(
            f"{old} of {len(ages)} prices are more than {OLD_DAYS:.0f} days old and may be off by two; what is billed is read back after "
            "the create call, and a rate above plan is not paid (cloudtune offers refresh)"
        )
    return tuple(said)
