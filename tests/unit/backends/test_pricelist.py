"""SkyPilot's price lists, as cloudtune writes it."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec

from orchestrator.backends.skypilot.pricelist import ANYWHERE, write_names, write_offers
from orchestrator.plan.offers import Offer

OFFER = Offer(
    backend="skypilot", cloud="vast", region="US", instance_type="1x-RTX_4090-8-16384", gpu="RTX4090", count=1, usd_per_hour=0.4,
    usable_gib=23.5,
)  # fmt: skip


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "vast/vms.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_offers_are_added_and_newer_rates_replace_older(tmp_path: Path) -> None:
    write_offers(tmp_path, [OFFER])
    write_offers(tmp_path, [msgspec.structs.replace(OFFER, usd_per_hour=0.2, spot=True), msgspec.structs.replace(OFFER, region="FR")])
    write_offers(tmp_path, [msgspec.structs.replace(OFFER, usd_per_hour=0.45)])
    found = {row["Region"]: (row["Price"], row["SpotPrice"]) for row in rows(tmp_path)}
    assert found == {"US": ("0.45", "0.2"), "FR": ("0.4", "")}
    assert rows(tmp_path)[0]["MemoryGiB"] == "16.0"


def test_names_are_added_to(tmp_path: Path) -> None:
    write_names(tmp_path, {"T4"})
    write_names(tmp_path, {"RTX4090"})
    text = (tmp_path / "common/accelerators.csv").read_text()
    assert "T4," in text and "RTX4090," in text


def test_runpods_list_has_its_own_columns_and_a_place_that_is_no_place(tmp_path: Path) -> None:
    pod = msgspec.structs.replace(OFFER, cloud="runpod", region="", instance_type="1x_RTX4090_SECURE", usd_per_hour=0.69)
    write_offers(tmp_path, [pod, OFFER])
    with (tmp_path / "runpod/vms.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["Region"], row["AvailabilityZone"], row["Price"], row["vCPUs"]) == (ANYWHERE, ANYWHERE, "0.69", "4.0")
    assert "HostingType" not in row and len(rows(tmp_path)) == 1
