"""CPU seconds of ``cloudtune plan --offline``, whole process, warm; with the bundled prices and with 90,000 rows.

    python -m benchmarks.plan_speed [--json] [--repeat 5]

Prints the median of the runs, user and system time of the child by ``resource``, and which heavy modules it loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.backends.offers.refresh import write_prices
from orchestrator.backends.offers.snapshot import snapshot_offers

ROOT = Path(__file__).resolve().parents[1]
ROWS = 90_000
JOB = """\
model: meta-llama/Meta-Llama-3-8B-Instruct
dataset: {path: data.csv, text: "{text}"}
training: {per_device_train_batch_size: 2, gradient_accumulation_steps: 8, max_length: 1024}
limits: {budget_usd: 5}
"""
_CODE = (
    "import sys\nfrom orchestrator.cli.app import main\ntry:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
    "heavy = {'sky', 'pandas', 'numpy', 'torch', 'requests'} & set(sys.modules)\nassert not heavy, heavy\nsys.exit(code)"
)


def cpu_s(home: Path, folder: Path) -> float:
    """User and system seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "CLOUDTUNE_"))} | {
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-P", "-c", _CODE, "plan", "--offline", "-o", "json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def many_rows(folder: Path) -> int:
    """As many rows as all of SkyPilot's catalogs have, as refreshed files: every bundled offer in many regions."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    by_cloud: dict[str, list[list[str]]] = {}
    offers, count = snapshot_offers(), 0
    while count < ROWS:
        for o in offers:
            price = f"{o.usd_per_hour * (1 + count % 97 / 300):.4f}"
            row = [
                o.cloud,
                f"region-{count}",
                o.instance_type,
                o.gpu,
                str(o.count),
                "",
                "" if o.spot else price,
                price if o.spot else "",
                "",
                today,
                "x",
                "",
            ]
            by_cloud.setdefault(o.cloud, []).append(row)
            count += 1
    for cloud, rows in by_cloud.items():
        write_prices(folder / f"{cloud}.csv", rows)
    return count


def measure(repeat: int) -> dict[str, Any]:
    """Medians in CPU seconds."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        job = home / "job"
        job.mkdir()
        (job / "cloudtune.yaml").write_text(JOB)
        (job / "data.csv").write_text("text\n" + "".join(f"a quite long film with a plot and some actors {i}\n" for i in range(1000)))
        cpu_s(home, job)
        bundled = [cpu_s(home, job) for _ in range(repeat)]
        rows = many_rows(home / ".cache/cloudtune/offers")
        return {"plan_offline_cpu_s": round(statistics.median(bundled), 3), "rows": rows,
                "plan_offline_many_rows_cpu_s": round(statistics.median(cpu_s(home, job) for _ in range(repeat)), 3)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_speed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    result = measure(arguments.repeat)
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"plan --offline, bundled prices: {result['plan_offline_cpu_s']:.2f} s of CPU")
        print(f"the same with {result['rows']} rows in the cache: {result['plan_offline_many_rows_cpu_s']:.2f} s of CPU")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
