"""Speed and memory of ``cloudtune check`` on made-up JSON lines of 1,000 bytes: ``python -m benchmarks.check_speed [MB]``.

With the packaged SmolLM2 tokenizer, where its package is installed, tokens are counted too. MB/s is of processor time, all cores.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.backends.vocabulary import find_tokenizer
from orchestrator.data.check import check_data
from orchestrator.data.measure import Measurer
from orchestrator.data.tokenizer import Encoder
from orchestrator.spec.parse import load_job

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


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
        Path(folder, "cloudtune.yaml").write_text(f"model: {MODEL}\ndataset: data.jsonl\n", encoding="utf-8")
        job, read_mb = load_job(Path(folder, "cloudtune.yaml"), environment={}), data.stat().st_size / 1e6
        files = find_tokenizer(job, offline=True)
        counters = {
            "rows checked": None,
            "and tokens counted": Measurer(spec=job.spec, encoder=Encoder(files, hurry=True)) if not isinstance(files, str) else None,
        }
        for what, measurer in counters.items():
            started, busy = time.perf_counter(), time.process_time()
            report = check_data(job, measurer=measurer)
            busy, seconds = time.process_time() - busy, time.perf_counter() - started
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            tokens = f", {report.train.total:,} tokens" if report.counted else ""
            print(f"{what}: {report.rows:,} rows{tokens}, {read_mb:,.0f} MB in {seconds:.1f} s: {read_mb / busy:.1f} MB/s a core, "
                  f"{report.rows / seconds:,.0f} rows/s, peak {peak_mb:.0f} MB")  # fmt: skip
            if isinstance(files, str):
                print(f"tokens not counted: {files}")
                break


if __name__ == "__main__":
    main()
