"""Processor time of ``cloudtune estimate`` with a model of the bundled table: ``python -m benchmarks.estimate_speed [RUNS]``.

Each run is a new process, from start to exit, user and system time together, offline; the median of all runs is printed, and
what a Python that does nothing takes on this machine.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

COMMAND = ("-c", "import sys; from orchestrator.cli.app import main; sys.exit(main())", "estimate", "job.yaml", "--gpu", "T4")
ROOT = Path(__file__).resolve().parents[1]


def cpu_seconds(arguments: tuple[str, ...], folder: Path) -> float:
    """Processor seconds of one Python process. Raises what a failed process makes of its exit code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Entry point."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 1000, encoding="utf-8")
        (folder / "job.yaml").write_text("model: meta-llama/Meta-Llama-3-8B\ndataset: data.jsonl\n", encoding="utf-8")
        cpu_seconds(COMMAND, folder)  # writes the bytecode
        times = [cpu_seconds(COMMAND, folder) for _ in range(runs)]
        empty = statistics.median(cpu_seconds(("-c", ""), folder) for _ in range(runs))
    print(f"cloudtune estimate: median {statistics.median(times):.3f} s of CPU over {runs} runs ({min(times):.3f} to {max(times):.3f}); "
          f"an empty Python {empty:.3f} s; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")  # fmt: skip


if __name__ == "__main__":
    main()
