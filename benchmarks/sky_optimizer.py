"""SkyPilot's own optimizer, given exactly our offers: which one does it take? Runs as a process of its own, in a home of its own.

    python -m benchmarks.sky_optimizer < questions.json > choices.json

Nothing is rented and no account is needed: the price lists below a temporary ``$HOME`` hold the offers and nothing else, their
clouds are entered as enabled where ``sky check`` would enter them, and each question goes through ``sky.Optimizer.optimize``:
a task whose resources are any of the accelerators (and spot or not) that fit. No time estimator is given, as on its command line.

A GPU at GCP is priced apart from its machine in SkyPilot's list; here the whole price is the GPU's, and the machine costs 0.
Machines' processors and memory, which our offers do not say, are alike everywhere: none is asked for.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.plan.offers import Offer

COLUMNS = (
    "InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "SpotPrice", "Region", "AvailabilityZone",
    "GpuInfo", "HostingType", "Generation", "arch",
)  # fmt: skip
ANY_REGION = {"runpod": "US"}  # where an offer names none
ZONED = ("aws", "gcp", "runpod", "oci")
Key = tuple[str, str, str, int, bool]
Question = tuple[tuple[str, int], ...]  # accelerators that fit, and how many of each


class NotRun(Exception):
    """SkyPilot could not be asked, and why."""


def key_of(offer: Offer) -> Key:
    """What names an offer in SkyPilot's terms."""
    return offer.cloud, offer.instance_type.removesuffix(f"+{offer.gpu}"), offer.gpu, offer.count, offer.spot


def choices(offers: Sequence[Offer], questions: Sequence[tuple[Question, bool | None]]) -> list[Key | None]:
    """What SkyPilot's optimizer takes for each (accelerators, spot: only, none or either); None where it finds nothing. Raises NotRun."""
    if importlib.util.find_spec("sky") is None:
        raise NotRun("SkyPilot is not installed here: pip install 'cloudtune[sky]'")
    asked = {"offers": msgspec.to_builtins(offers), "questions": [[list(map(list, q)), spot] for q, spot in questions]}
    with tempfile.TemporaryDirectory(prefix="cloudtune-sky-") as home:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SKYPILOT_", "SKY_", "AWS_"))}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.sky_optimizer"], input=json.dumps(asked), capture_output=True, text=True, check=False,
            env={**kept, "HOME": home, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "AWS_EC2_METADATA_DISABLED": "true"},
        )  # fmt: skip
    if done.returncode:
        raise NotRun(f"SkyPilot's optimizer failed: {(done.stderr.strip() or 'it said nothing').splitlines()[-1]}")
    return [None if found is None else tuple(found) for found in json.loads(done.stdout.splitlines()[-1])]


def _write_lists(folder: Path, offers: Iterable[Offer]) -> None:
    """SkyPilot's price lists below ``folder`` (``~/.sky/catalogs/v8``), without checksums: never overwritten."""
    lists: dict[str, dict[tuple[str, str, str], dict[str, object]]] = defaultdict(dict)
    for o in offers:
        region = o.region or ANY_REGION.get(o.cloud, "any")
        gpu = {"Name": o.gpu, "Count": float(o.count), "MemoryInfo": {"SizeInMiB": round(o.usable_gib * 1024)}}
        info = repr({"Gpus": [gpu], "TotalGpuMemoryInMiB": round(o.usable_gib * 1024) * o.count})
        row: dict[str, object] = {
            "InstanceType": o.instance_type, "AcceleratorName": o.gpu, "AcceleratorCount": float(o.count), "vCPUs": 8.0, "MemoryGiB": 32.0,
            "Region": region, "AvailabilityZone": f"{region}-1" if o.cloud in ZONED else "", "GpuInfo": info, "HostingType": 1,
            "Generation": "V2", "arch": "x86_64", "SpotPrice" if o.spot else "Price": o.usd_per_hour,
        }  # fmt: skip
        kinds = [row]
        if o.cloud == "gcp":
            host = row | {
                "InstanceType": key_of(o)[1],
                "AcceleratorName": "",
                "AcceleratorCount": "",
                "GpuInfo": "",
                "vCPUs": 96.0,
                "MemoryGiB": 1360.0,
            }
            kinds = [row | {"InstanceType": ""}, host | {"Price": 0.0, "SpotPrice": 0.0}]
        for one in kinds:
            at = (str(one["InstanceType"]), f"{one['AcceleratorName']}:{one['AcceleratorCount']}", region)
            lists[o.cloud][at] = lists[o.cloud].get(at, {}) | one
    lists["common"] = {(o.gpu, "", ""): {"AcceleratorName": o.gpu, "Clouds": o.cloud} for o in offers}
    for cloud, rows in lists.items():
        path = folder / cloud / ("accelerators.csv" if cloud == "common" else "vms.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            columns = ("AcceleratorName", "Clouds") if cloud == "common" else COLUMNS
            columns = tuple(c for c in columns if c != "AvailabilityZone" or cloud in ZONED)  # an empty one would leave no region
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows.values())


def _answer(asked: dict[str, Any]) -> list[Key | None]:
    """In the process of its own: every question put to ``sky.Optimizer``."""
    offers = msgspec.convert(asked["offers"], tuple[Offer, ...])
    _write_lists(Path.home() / ".sky/catalogs/v8", offers)
    import sky
    from sky import check, exceptions, global_user_state
    from sky.catalog import config
    from sky.clouds import CloudCapability

    workspace = "default"
    global_user_state.set_allowed_clouds(check._get_workspace_allowed_clouds(workspace), workspace)
    global_user_state.set_enabled_clouds(sorted({o.cloud for o in offers}), CloudCapability.COMPUTE, workspace)
    found: list[Key | None] = []
    with config._set_use_default_catalog_if_failed(True):  # AWS: its zones are an account's
        for accelerators, spot in asked["questions"]:
            kinds = (True, False) if spot is None else (spot,)
            with sky.Dag() as dag:
                task = sky.Task(name="job")
                task.set_resources({sky.Resources(accelerators={gpu: count}, use_spot=s) for gpu, count in accelerators for s in kinds})
            try:
                sky.Optimizer.optimize(dag, quiet=True)
            except exceptions.ResourcesUnavailableError:
                found.append(None)
                continue
            best = task.best_resources
            ((gpu, count),) = best.accelerators.items()
            found.append((str(best.cloud).lower(), best.instance_type, gpu, int(count), best.use_spot))
    return found


if __name__ == "__main__":
    real, sys.stdout = sys.stdout, sys.stderr
    answers = _answer(json.load(sys.stdin))
    real.write("\n" + json.dumps(answers) + "\n")
