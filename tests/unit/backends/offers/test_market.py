"""Price files and live answers: what is believed, what is kept when something goes wrong."""

from __future__ import annotations

import json
import os
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from orchestrator.backends.offers.free import local_gpu
from orchestrator.backends.offers.hosts import Host, HostRules, host_problem
from orchestrator.backends.offers.market import age_warnings, market, previous, price_file, read_file
from orchestrator.backends.offers.refresh import refresh, refresh_all, refresh_stale, write_prices
from orchestrator.backends.offers.rows import COLUMNS, BadPriceFile, price_problem, read_rows
from orchestrator.backends.offers.snapshot import snapshot_offers
from orchestrator.backends.offers.sources import BadAnswer, catalog_rows, runpod_rows, vast_rows
from orchestrator.backends.offers.strikes import FORGIVEN_S, strike, struck
from orchestrator.ledger.paths import state_dir

NOW = 1_795_500_000.0  # 2026-11-24
ROW = ["lambda", "here", "gpu_1x_a10", "A10", "1", "30", "0.75", "", "", "2026-11-20", "test", ""]


def text(*rows: list[str], count: int | None = None) -> list[str]:
    lines = [",".join(COLUMNS), *(",".join(row) for row in rows)]
    return [*lines, f"end,{len(rows) if count is None else count}" + "," * (len(COLUMNS) - 2)]


def with_price(price: str) -> list[str]:
    return [*ROW[:6], price, *ROW[7:]]


@pytest.mark.parametrize("price", ["0", "-1", "nan", "inf", "1e9", "0.00001", "much"])
def test_a_price_that_cannot_be_one_is_listed_and_not_used(price: str) -> None:
    found = read_rows(text(with_price(price), ROW), "file")
    assert [o.usd_per_hour for o in found.offers] == [0.75]
    assert len(found.quarantined) == 1 and found.quarantined[0].where == "file:2" and "lambda" in found.quarantined[0].title


def test_prices_of_many_cards_are_judged_by_the_card() -> None:
    assert price_problem(98.32, 8) is None and price_problem(98.32, 1) is not None


@pytest.mark.parametrize("count", ["0", "-1", "65", "two", "²"])
def test_a_count_that_cannot_be_one_is_listed(count: str) -> None:
    assert len(read_rows(text([*ROW[:4], count, *ROW[5:]]), "file").quarantined) == 1


@pytest.mark.parametrize("day", ["", "2026-99-99", "2026-02-30", "yesterday", "20261120", "2026-11-20T00:00"])
def test_a_day_that_does_not_exist_is_listed(day: str) -> None:
    found = read_rows(text([*ROW[:9], day, *ROW[10:]]), "file")
    assert found.offers == () and len(found.quarantined) == 1


def test_a_file_of_which_nothing_is_believed_is_listed_and_the_bundled_prices_stay(tmp_path: Path) -> None:
    write_prices(price_file(tmp_path, "lambda"), [with_price("-1")])
    found = market(tmp_path)
    assert found.refreshed == () and len(found.quarantined) == 1 and "no price that is believed" in found.warnings[0]
    assert [o for o in found.offers if o.cloud == "lambda"]


def test_a_file_with_another_clouds_prices_is_not_used(tmp_path: Path) -> None:
    write_prices(price_file(tmp_path, "aws"), [ROW])
    found = market(tmp_path)
    assert found.refreshed == () and "another cloud" in found.warnings[0]
    assert 0.75 not in {o.usd_per_hour for o in found.offers if o.cloud == "aws"}


def test_the_cheapest_region_of_those_that_count() -> None:
    rows = [ROW, [ROW[0], "there", *ROW[2:6], "0.70", *ROW[7:]]]
    assert [(o.region, o.usd_per_hour) for o in read_rows(text(*rows), "file").offers] == [("there", 0.70)]
    assert [o.region for o in read_rows(text(*rows), "file", lambda cloud, region: region == "here").offers] == ["here"]


@pytest.mark.parametrize("damage", ["empty", "header", "cut", "count", "columns", "after"])
def test_a_damaged_file_is_not_used(damage: str) -> None:
    lines = text(ROW, ROW)
    broken = {"empty": [], "header": ["a,b", *lines[1:]], "cut": lines[:-1], "count": text(ROW, ROW, count=3),
              "columns": [lines[0], "lambda,here", lines[-1]], "after": [*lines, lines[1]]}[damage]  # fmt: skip
    with pytest.raises(BadPriceFile, match="file"):
        read_rows(broken, "file")


def test_a_cached_file_replaces_its_cloud_and_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path) -> None:
    path = price_file(tmp_path, "lambda")
    write_prices(path, [ROW])
    found = market(tmp_path)
    assert [o.usd_per_hour for o in found.offers if o.cloud == "lambda"] == [0.75] and found.refreshed == ("lambda",)
    assert {o.cloud for o in found.offers} == {o.cloud for o in snapshot_offers()}
    write_prices(path, [with_price("0.80")])
    path.write_text(path.read_text()[:-40])
    found = market(tmp_path)
    assert [o.usd_per_hour for o in found.offers if o.cloud == "lambda"] == [0.75] and str(path) in found.warnings[0]
    previous(path).write_bytes(b"\xff\xfe\x00")
    found = market(tmp_path)
    assert len([o for o in found.offers if o.cloud == "lambda"]) > 10 and "bundled" in found.warnings[0]


def test_ages_and_a_clock_in_the_past(tmp_path: Path) -> None:
    write_prices(price_file(tmp_path, "lambda"), [ROW])
    fresh = tuple(o for o in market(tmp_path).offers if o.cloud == "lambda")
    assert age_warnings(fresh, NOW) == ()
    assert "clock is before" in age_warnings(fresh, 0.0)[0]
    assert "30 days old" in age_warnings(fresh, NOW + 40 * 86400.0)[0]


def vast_offer(**values: Any) -> dict[str, Any]:
    base = {"machine_id": 1, "verification": "verified", "reliability2": 0.99, "inet_down": 800.0, "driver_version": "550.54.14",
            "cuda_max_good": 12.4, "duration": 9e6, "gpu_name": "RTX 4090", "gpu_ram": 24564, "num_gpus": 1, "dph_base": 0.30, "min_bid": 0.1,
            "geolocation": "Texas, US", "storage_cost": 0.225}  # fmt: skip
    return {**base, **values}


def test_vast_counts_only_hosts_worth_renting() -> None:
    bad: list[dict[str, Any]] = [{"verification": "unverified"}, {"reliability2": 0.9}, {"inet_down": 90.0}, {"cuda_max_good": 12.1},
                                 {"driver_version": "470.1"}, {"duration": 3600.0}, {"machine_id": 7}]  # fmt: skip
    answer = {"offers": [vast_offer(dph_base=0.05, **b) for b in bad] + [vast_offer(dph_base=p) for p in (0.50, 0.28, 0.30, 0.33)]}
    rows, out = vast_rows(json.dumps(answer).encode(), HostRules(struck={"7"}), "2026-11-24")
    assert sum(out.values()) == len(bad) and len(out) == 6
    kind = ("vast", "US", "1x-RTX_4090-8-16384", "RTX4090")
    assert [(*r[:4], r[6], r[7]) for r in rows] == [(*kind, "0.35", "0.12")], "64 GB of disk at $0.225 a month are 2 cents an hour"
    two, _ = vast_rows(json.dumps({"offers": [vast_offer(), vast_offer(geolocation="Paris, FR")]}).encode(), HostRules(), "2026-11-24")
    assert [r[1] for r in two] == ["FR", "US"]
    rows, _ = vast_rows(json.dumps({"offers": [vast_offer(duration=90_000.0)]}).encode(), HostRules(duration_s=100_000.0), "2026-11-24")
    assert rows == []


def test_a_host_that_will_do() -> None:
    host = Host(machine="1", verified=True, reliability=0.99, down_mbit=500.0, driver=550, cuda=12.8, duration_s=1e6)
    assert host_problem(host, HostRules()) is None and host_problem(host, HostRules(duration_s=2e6)) is not None


def test_runpod_and_catalogs_are_read_under_skypilots_names() -> None:
    types = [{"displayName": "RTX 4090", "maxGpuCountSecureCloud": 2, "securePrice": 0.69, "secureSpotPrice": 0.35, "lowestPrice": {"stockStatus": "High"}},
             {"displayName": "H100 SXM", "maxGpuCountSecureCloud": 8, "securePrice": 2.99, "lowestPrice": {"stockStatus": None}},
             {"displayName": "Unheard", "securePrice": 1.0}]  # fmt: skip
    rows = runpod_rows(json.dumps({"data": {"gpuTypes": types}}).encode(), "2026-11-24")
    assert [(r[2], r[4], r[6]) for r in rows] == [("1x_RTX4090_SECURE", "1", "0.69889"), ("2x_RTX4090_SECURE", "2", "1.38889")]
    catalog = b"InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice\ng6.xlarge,L4,1.0,4,16,0.8,us-east-1,,0.0\nm5,,,4,16,0.1,us-east-1,,\n"
    assert [(r[2], r[3], r[6], r[7]) for r in catalog_rows(catalog, "aws", "2026-11-24")] == [("g6.xlarge", "L4", "0.8", "")]


# Shapes as they really are, shortened: catalogs/v8/seeweb/vms.csv (commit 004a1aef) and catalogs/v8/oci/vms.csv (05887511) of
# skypilot-org/skypilot-catalog; fractions as sky/catalog/data_fetchers/fetch_aws.py and fetch_azure.py of 0.14.1 write them.
SEEWEB = b"""InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice
eCS1,,,1,1.0,0.019,ch-lug1,,
ECS1GPU11,A30,1,8,32.0,0.29,it-fr2,"{'Gpus': [{'Name': 'A30', 'Manufacturer': 'NVIDIA', 'Count': 1.0, 'MemoryInfo': {'SizeInMiB': 24576}}], 'TotalGpuMemoryInMiB': 24576}",
ECS1GPU6,L4,1,4,32.0,0.38,,"{'Gpus': [{'Name': 'L4', 'Manufacturer': 'NVIDIA', 'Count': 1.0, 'MemoryInfo': {'SizeInMiB': 24576}}], 'TotalGpuMemoryInMiB': 24576}",
"""
OCI = b"""InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone
VM.Standard.E4.Flex$_2_8,,,2,8,,0.037,0.0185,af-casablanca-1,AF-CASABLANCA-1-AD-1
VM.GPU.A10.1,A10,1,30,240,"{'Gpus': [{'Name': 'A10', 'Manufacturer': 'NVIDIA', 'Count': 1, 'MemoryInfo': {'SizeInMiB': 24576}}], 'TotalGpuMemoryInMiB': 24576}",2,,af-casablanca-1,AF-CASABLANCA-1-AD-1
VM.GPU3.1,V100,1,12,90,"{'Gpus': [{'Name': 'V100', 'Manufacturer': 'NVIDIA', 'Count': 1, 'MemoryInfo': {'SizeInMiB': 16384}}], 'TotalGpuMemoryInMiB': 16384}",2.95,1.475,af-casablanca-1,AF-CASABLANCA-1-AD-1
"""


def test_catalogs_in_their_recorded_shapes(tmp_path: Path) -> None:
    assert [(r[1], r[2], r[3], r[6]) for r in catalog_rows(SEEWEB, "seeweb", "2026-11-24")] == [("it-fr2", "ECS1GPU11", "A30", "0.29")]
    oci = catalog_rows(OCI, "oci", "2026-11-24")
    assert [(r[2], r[6], r[7]) for r in oci] == [("VM.GPU.A10.1", "2", ""), ("VM.GPU3.1", "2.95", "1.475")]
    parts = b"InstanceType,AcceleratorName,AcceleratorCount,Price,Region\ng6f.large,L4,0.125,0.2,a\ng6f.large,L4,0.125,0.2,b\ng6.xlarge,L4,1.0,0.8,a\n"
    write_prices(tmp_path / "aws.csv", catalog_rows(parts, "aws", "2026-11-24"))
    found = read_file(tmp_path / "aws.csv")
    assert [o.instance_type for o in found.offers] == ["g6.xlarge"] and found.quarantined == ()
    assert found.left_out == (("aws g6f.large L4", "a part of a card"),)


def test_runpods_answer_as_gpuhunt_and_skypilot_read_it() -> None:
    # fields of gpuhunt's query_pod_types (src/gpuhunt/providers/runpod.py, 3584151) and SkyPilot's fetch_runpod.py
    stock = {
        "stockStatus": "Low",
        "minimumBidPrice": 0.9,
        "uninterruptablePrice": 1.8,
        "minVcpu": 14,
        "minMemory": 188,
        "__typename": "LowestPrice",
    }
    types = [{"id": "NVIDIA RTX PRO 6000 Blackwell Server Edition", "displayName": "RTX PRO 6000", "maxGpuCountSecureCloud": 1, "securePrice": 1.79,
              "secureSpotPrice": None, "lowestPrice": stock},
             {"id": "NVIDIA L4", "displayName": "L4", "maxGpuCountSecureCloud": 1, "securePrice": 0.39, "secureSpotPrice": 0.22,
              "lowestPrice": stock | {"stockStatus": None}},
             {"id": "unknown", "displayName": "unknown", "maxGpuCountSecureCloud": None, "securePrice": None, "lowestPrice": None}]  # fmt: skip
    rows = runpod_rows(json.dumps({"data": {"gpuTypes": types}}).encode(), "2026-11-24")
    assert [(r[2], r[3], r[6], r[7]) for r in rows] == [("1x_RTXPRO6000_SECURE", "RTXPRO6000", "1.79889", "")], (
        "what is not in stock is not on sale"
    )
    with pytest.raises(BadAnswer):
        runpod_rows(b'{"errors": [{"message": "Cannot query field"}], "data": null}', "2026-11-24")


def test_vast_hosts_that_the_order_would_not_take() -> None:
    # gpuhunt's vastai.py (3584151): the place may be null, and so may the number of processors
    odd = [vast_offer(geolocation=None), vast_offer(cpu_ram=8192), vast_offer(disk_space=20.0), vast_offer(cpu_cores=None, cpu_ram=65536)]
    rows, out = vast_rows(json.dumps({"offers": odd}).encode(), HostRules(), "2026-11-24")
    assert len(rows) == 1 and rows[0][1] == "US" and out == {"less than 16 GiB of memory or 64 GB of disk": 2}


def test_a_source_that_refuses_is_no_matter_of_the_network(tmp_path: Path) -> None:
    def refuses(address: str, body: bytes | None) -> bytes:
        raise HTTPError(address, 404, "Not Found", Message(), None)

    count, problem = refresh(tmp_path, "do", NOW, deadline_s=None, get=refuses)
    assert count == 0 and problem == "prices of do were not refreshed: it answered 404 Not Found"


def test_without_a_network_two_are_tried_and_the_rest_is_named(tmp_path: Path) -> None:
    asked: list[str] = []

    def nowhere(address: str, body: bytes | None) -> bytes:
        asked.append(address)
        raise URLError(OSError(-3, "Temporary failure in name resolution"))

    found = refresh_all(tmp_path, nowhere)
    assert len(asked) == 2 and list(found) == ["vast", "runpod", "the others"]
    assert all("urlopen" not in (problem or "") and "is there a network?" in (problem or "") for _, problem in found.values())


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"offers": [{}]}', b'{"data": {"gpuTypes": [{}]}}', b"\xff"])
def test_another_answer_than_usual_is_an_error_and_the_cache_stays(answer: bytes, tmp_path: Path) -> None:
    path = price_file(tmp_path, "vast")
    write_prices(path, [["vast", *ROW[1:]]])
    before = path.read_bytes()
    count, problem = refresh(tmp_path, "vast", NOW, deadline_s=None, get=lambda address, body: answer)
    assert count == 0 and problem is not None and "vast" in problem and path.read_bytes() == before
    with pytest.raises(BadAnswer):
        catalog_rows(answer, "aws", "2026-11-24")
    if b"offers" not in answer:
        with pytest.raises(BadAnswer):
            runpod_rows(answer, "2026-11-24")


def test_a_refresh_is_made_once_an_hour_and_without_a_network_only_one_is_tried(tmp_path: Path) -> None:
    asked: list[str] = []

    def answers(address: str, body: bytes | None) -> bytes:
        asked.append(address)
        return json.dumps({"offers": [vast_offer()]}).encode()

    assert refresh_stale(tmp_path, ["vast"], price_now(tmp_path), deadline_s=None, get=answers) == ()
    assert refresh_stale(tmp_path, ["vast"], price_now(tmp_path), deadline_s=None, get=answers) == () and len(asked) == 1

    def fails(address: str, body: bytes | None) -> bytes:
        asked.append(address)
        raise OSError("no route")

    said = refresh_stale(tmp_path / "other", ["vast", "runpod"], NOW, deadline_s=None, get=fails)
    assert len(said) == 1 and "no route" in said[0] and len(asked) == 2


def test_prices_older_than_the_newest_strike_are_not_fresh(tmp_path: Path) -> None:
    answer = json.dumps({"offers": [vast_offer(machine_id=7, dph_base=0.1), vast_offer(machine_id=8, dph_base=0.5)]}).encode()
    folder = tmp_path / "cache"

    def plan(after_s: float) -> str:
        now = price_file(folder, "vast").stat().st_mtime + after_s if after_s else NOW
        assert refresh_stale(folder, ["vast"], now, deadline_s=None, get=lambda address, body: answer) == ()
        return next(row.split(",")[6] for row in price_file(folder, "vast").read_text().splitlines() if row.startswith("vast"))

    assert plan(0.0) == "0.52", "the third cheapest of two is the last"
    fetched = price_file(folder, "vast").stat().st_mtime
    strike(state_dir(), "vast", "8", "never ready", NOW)
    os.utime(state_dir() / "strikes.json", (fetched - 5.0, fetched - 5.0))
    assert plan(60.0) == "0.52", "an older strike is in the prices already"
    os.utime(state_dir() / "strikes.json", (fetched + 5.0, fetched + 5.0))
    assert plan(60.0) == "0.12"


def price_now(folder: Path) -> float:
    path = price_file(folder, "vast")
    return path.stat().st_mtime + 60.0 if path.is_file() else NOW


def test_machines_that_failed_are_remembered_for_a_while(tmp_path: Path) -> None:
    strike(tmp_path / "state", "vast", "42", "never ready", NOW)
    strike(tmp_path / "state", "vast", "43", "wrong card", NOW + 1.0)
    assert struck(tmp_path / "state", "vast", NOW + 2.0) == {"42", "43"} and struck(tmp_path / "state", "runpod", NOW) == frozenset()
    assert struck(tmp_path / "state", "vast", NOW + FORGIVEN_S + 0.5) == {"43"}
    (tmp_path / "state" / "strikes.json").write_text("[")
    assert struck(tmp_path / "state", "vast", NOW) == frozenset()


def test_this_machines_card_is_asked_of_its_driver() -> None:
    here, why = local_gpu(("printf", "NVIDIA GeForce RTX 3090, 24576\\n"))
    assert here is not None and (here.gpu, here.count, here.free, why) == ("RTX3090", 1, True, "") and here.usable_gib < 24.0
    for command in (("false",), ("printf", "Strange Card, 1000\\n"), ("printf", "NVIDIA L4, [N/A]\\n"), ("no-such-command-anywhere",)):
        offer, why = local_gpu(command)
        assert offer is None and why
