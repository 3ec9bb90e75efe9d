"""Answers of live price sources, as rows of a price file. Pure: bytes in, rows out; what cannot be read raises BadAnswer.

Vast's and RunPod's public APIs need no key. SkyPilot's hosted catalogs hold what it can rent elsewhere; GCP's is not used,
because it prices a GPU apart from its machine, and Mithril's is not, because every price in it is $1 a GPU.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from typing import Any

from orchestrator.backends.observers.runpod import USD_PER_GB_MONTH, accelerator
from orchestrator.backends.offers.hosts import Host, HostRules, host_problem

VAST_URL = "https://console.vast.ai"  # or what the variable VAST_URL says, as Vast's own client has it
VAST_PATH = "/api/v0/bundles/"
VAST_QUERY = {"rentable": {"eq": True}, "rented": {"eq": False}, "type": "on-demand", "limit": 3000, "order": [["dph_base", "asc"]]}
RUNPOD_QUERY = {
    "query": "query { gpuTypes { displayName maxGpuCountSecureCloud securePrice secureSpotPrice "
    "lowestPrice(input: {gpuCount: 1, secureCloud: true}) { stockStatus } } }"
}
CATALOG_URL = "https://raw.githubusercontent.com/skypilot-org/skypilot-catalog/master/catalogs/v8/{cloud}/vms.csv"
CATALOGS = (
    "aws",
    "azure",
    "do",
    "hyperbolic",
    "lambda",
    "nebius",
    "oci",
    "paperspace",
    "primeintellect",
    "seeweb",
    "shadeform",
    "verda",
    "yotta",
)
_STEADY = 3  # the third cheapest host counts, so that one that is gone in a minute does not turn a plan over
_BITS_MIB = 1024.0
_DISK_GB = 64.0  # storage that a rate includes: what a job with an 8B model orders is below it
_HOURS_A_MONTH = 720.0
_LEAST_RAM_MIB = 16384.0  # as in the type's name: SkyPilot asks for no less
_HOST = "8-16384"  # processors and MiB of memory in the names of SkyPilot's types: the least that a job needs

Rows = list[list[str]]


class BadAnswer(ValueError):
    """A price source answered something else than it used to."""


def _json(answer: bytes, source: str) -> Any:
    try:
        return json.loads(answer)
    except ValueError as error:
        raise BadAnswer(f"{source} did not answer in JSON") from error


def _row(cloud: str, region: str, kind: str, gpu: str, count: int, price: Any, spot: Any, today: str, source: str) -> list[str]:
    return [cloud, region, kind, gpu, str(count), "", str(price or ""), str(spot or ""), "", today, source, ""]


def vast_rows(answer: bytes, rules: HostRules, today: str) -> tuple[Rows, dict[str, int]]:
    """(rows, how many hosts were left out by reason). A row a (GPU, count, country): the third cheapest host that will do.

    Rates include storage of 64 GB.
    """
    document = _json(answer, "vast")
    try:
        offers = document["offers"]
        kept: dict[tuple[str, str, int, str], list[tuple[float, float]]] = defaultdict(list)
        out: Counter[str] = Counter()
        for offer in offers:
            problem = host_problem(vast_host(offer), rules) or _too_small(offer)
            if problem is not None:
                out[problem] += 1
                continue
            name, country = str(offer["gpu_name"]), str(offer.get("geolocation") or "")[-2:]
            disk, bid = float(offer.get("storage_cost") or 0.0) * _DISK_GB / _HOURS_A_MONTH, float(offer.get("min_bid") or 0.0)
            kind = (_vast_gpu(name, float(offer["gpu_ram"])), name, int(offer["num_gpus"]), country)
            kept[kind].append((float(offer["dph_base"]) + disk, bid + disk if bid > 0.0 else 0.0))
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer(f"vast answered in another form than it used to: {error!r}") from error
    rows = []
    for (gpu, name, count, country), prices in sorted(kept.items()):
        place = min(_STEADY, len(prices)) - 1
        price = sorted(p for p, _ in prices)[place]
        bids = sorted(b for _, b in prices if b > 0.0)
        spot = bids[min(place, len(bids) - 1)] if bids else 0.0
        if not country.isalpha() or "-" in name:
            continue  # SkyPilot could not name it
        kind_name = f"{count}x-{name.replace(' ', '_')}-{_HOST}"
        rows.append(_row("vast", country, kind_name, gpu, count, round(price, 5), round(spot, 5), today, "vast.ai, live"))
    return rows, dict(out)


def vast_host(offer: dict[str, Any]) -> Host:
    """One row of Vast's search as a host. Raises KeyError, TypeError, ValueError when it is not one."""
    return Host(
        machine=str(offer["machine_id"]), verified=offer.get("verification") == "verified" or offer.get("verified") is True,
        reliability=float(offer.get("reliability2") or offer.get("reliability") or 0.0), down_mbit=float(offer.get("inet_down") or 0.0),
        driver=int(str(offer.get("driver_version") or "0").split(".")[0]), cuda=float(offer.get("cuda_max_good") or 0.0),
        duration_s=float(offer.get("duration") or 0.0),
    )  # fmt: skip


def _too_small(offer: dict[str, Any]) -> str | None:
    """Why an order would not be placed on this host, by what SkyPilot asks for in it, or None."""
    if float(offer.get("cpu_ram") or _LEAST_RAM_MIB) < _LEAST_RAM_MIB or float(offer.get("disk_space") or _DISK_GB) < _DISK_GB:
        return "less than 16 GiB of memory or 64 GB of disk"
    return None


def _vast_gpu(name: str, ram_mib: float) -> str:
    """SkyPilot's name: ``RTX 4090`` is RTX4090, ``A100 PCIE`` A100 (40 or 80 GB), ``Tesla V100`` V100."""
    plain = name.replace("Tesla ", "").replace("Quadro ", "")
    for start in ("A100", "H100", "V100"):
        if plain.startswith(start) and "NVL" not in plain:
            return "V100-32GB" if start == "V100" and ram_mib > 20 * _BITS_MIB else start
    return {"H100 NVL": "H100-NVL", "RTX 6000Ada": "RTX6000-Ada", "RTX PRO 6000 WS": "RTXPRO6000WS"}.get(plain, plain.replace(" ", ""))


_RUNPOD_CARDS = frozenset({  # by RunPod's own names
    "A100 PCIe", "A100 SXM", "H100 PCIe", "H100 SXM", "H100 NVL", "H200 SXM", "B200", "L4", "L40", "L40S", "A40", "A30", "RTX 3090",
    "RTX 4090", "RTX 5090", "RTX A4000", "RTX A5000", "RTX A6000", "RTX 6000 Ada", "RTX PRO 6000", "RTX 3070", "RTX 3080", "RTX 4080",
    "RTX 5080",
})  # fmt: skip


def runpod_rows(answer: bytes, today: str) -> Rows:
    """A row a GPU and count of the secure cloud that is in stock, under SkyPilot's names; the rate with the disk that a job orders."""
    disk = _DISK_GB * USD_PER_GB_MONTH / _HOURS_A_MONTH
    document = _json(answer, "runpod")
    try:
        rows = []
        for gpu in document["data"]["gpuTypes"]:
            name = accelerator(gpu["displayName"])
            stock = (gpu.get("lowestPrice") or {}).get("stockStatus")
            if gpu["displayName"] not in _RUNPOD_CARDS or not gpu.get("securePrice") or stock is None:
                continue
            for count in range(1, int(gpu.get("maxGpuCountSecureCloud") or 0) + 1):
                spot = round(gpu["secureSpotPrice"] * count + disk, 5) if gpu.get("secureSpotPrice") else 0.0
                rate = round(gpu["securePrice"] * count + disk, 5)
                rows.append(_row("runpod", "", f"{count}x_{name}_SECURE", name, count, rate, spot, today, "runpod.io, live"))
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer(f"runpod answered in another form than it used to: {error!r}") from error
    return rows


def catalog_rows(answer: bytes, cloud: str, today: str) -> Rows:
    """The GPU rows of one of SkyPilot's hosted catalogs (schema v8), every region. A spot price of 0 means unknown.

    A row without a region is on sale nowhere. A part of a card (AWS g6f, Azure NVadsA10) is left out, with that reason.
    """
    try:
        reader = csv.DictReader(answer.decode("utf-8").splitlines(), strict=True)
        if not {"InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region"} <= set(reader.fieldnames or ()):
            raise BadAnswer(f"SkyPilot's catalog of {cloud} has other columns than it used to")
        rows, parts = [], set()
        for row in reader:
            if not row["AcceleratorName"] or not row["InstanceType"] or not row["Region"]:
                continue
            if float(row["AcceleratorCount"]) % 1.0:
                parts.add((row["InstanceType"], row["AcceleratorName"]))
                continue
            spot = row.get("SpotPrice") or ""
            rows.append(
                _row(cloud, row["Region"], row["InstanceType"], row["AcceleratorName"], round(float(row["AcceleratorCount"])), row["Price"],
                     "" if not spot or float(spot) == 0.0 else spot, today, f"skypilot-catalog v8 {cloud}, fetched")
            )  # fmt: skip
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise BadAnswer(f"SkyPilot's catalog of {cloud} has another form than it used to: {error!r}") from error
    left_out = [[cloud, "", kind, gpu, "1", "", "", "", "", today, "", "a part of a card"] for kind, gpu in sorted(parts)]
    return rows + left_out if rows else []
