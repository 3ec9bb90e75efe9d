"""SkyPilot's price list of Vast, as cloudtune writes it."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec

from orchestrator.backends.skypilot.pricelist import write_names, write_vast
from orchestrator.plan.offers import Offer

OFFER = Offer(
    backend="skypilot", cloud="vast", region="US", instance_type="1x-RTX_4090-8-16384", gpu="RTX4090", count=1, usd_per_hour=0.4,
    usable_gib=23.5,
)  # fmt: skip


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "vast/vms.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_offers_are_added_and_newer_rates_replace_older(tmp_path: Path) -> None:
    write_vast(tmp_path, [OFFER])
    write_vast(tmp_path, [msgspec.structs.replace(OFFER, usd_per_hour=0.2, spot=True), msgspec.structs.replace(OFFER, region="FR")])
    write_vast(tmp_path, [msgspec.structs.replace(OFFER, usd_per_hour=0.45)])
    found = {row["Region"]: (row["Price"], row["SpotPrice"]) for row in rows(tmp_path)}
    assert found == {"US": ("0.45", "0.2"), "FR": ("0.4", "")}
    assert rows(tmp_path)[0]["MemoryGiB"] == "16.0"


def test_names_are_added_to(tmp_path: Path) -> None:
    write_names(tmp_path, {"T4"})
    write_names(tmp_path, {"RTX4090"})
    text = (tmp_path / "common/accelerators.csv").read_text()
    assert "T4,vast" in text and "RTX4090,vast" in text
