"""Speed and memory of ``cloudtune check`` on made-up JSON lines of 1,000 bytes: ``python -m benchmarks.check_speed [MB]``."""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.data.check import check_data
from orchestrator.spec.parse import load_job


def main() -> None:
    """Entry point."""
    size_mb = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    chance = random.Random(0)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(20_000)]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data.jsonl")
        with open(data, "w", encoding="utf-8") as handle:
            for number in range(size_mb * 1000):
                text = f"{number} " + " ".join(chance.choices(words, k=200))
                handle.write(json.dumps({"prompt": text[:700], "completion": text[700:960] or "yes"}) + "\n")
        Path(folder, "cloudtune.yaml").write_text("model: m\ndataset: data.jsonl\n", encoding="utf-8")
        started = time.process_time()
        report = check_data(load_job(Path(folder, "cloudtune.yaml"), environment={}))
        seconds = time.process_time() - started
        read_mb = data.stat().st_size / 1e6
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{report.rows:,} rows, {read_mb:,.0f} MB: {read_mb / seconds:.0f} MB/s of one core, peak {peak_mb:.0f} MB; rows checked, tokens not counted"
    )


if __name__ == "__main__":
    main()
