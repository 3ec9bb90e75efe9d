"""The dated prices that come with cloudtune: what the plan falls back on without a network."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from orchestrator.backends.offers.rows import PriceList, read_rows
from orchestrator.plan.offers import Offer

FILE = Path(__file__).parent / "data" / "snapshot.csv"


@cache
def snapshot() -> PriceList:
    """The bundled prices, with what is left out of them and why."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return read_rows(file, "the bundled snapshot")


def snapshot_offers() -> tuple[Offer, ...]:
    """Every offer of the bundled snapshot that SkyPilot can rent, on demand and spot, in the file's order."""
    return snapshot().offers
