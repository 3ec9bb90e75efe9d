"""Any bytes under any ending, guided by coverage: ``python -m benchmarks.fuzz_readers [SECONDS]`` (``pip install atheris``).

A row, a BadRow or a DataProblem is the only answer; anything else, and anything over ten seconds, ends with the input written to a file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["orchestrator.data"]):
    from orchestrator.data.readers import Reading, scan
    from orchestrator.data.shape import shape_of
    from orchestrator.data.sources import find_sources
    from orchestrator.errors import UsageProblem
    from orchestrator.spec.jobspec import DatasetSpec, JobSpec

from orchestrator.data.prepare import convert_row
from orchestrator.data.rows import Row

ENDINGS = [".csv", ".tsv", ".json", ".jsonl", ".txt", ".zip", ".parquet", ".csv.gz", ".jsonl.gz"]
SEEDS = [
    b'\x02[{"prompt": "a", "completion": "b"}]', b'\x03{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n',
    b'\x00text,label\n"a,b",c\n', b"\x01a\tb\n1\t2\n", b"\x03" + '{"text": "a"}\n'.encode("utf-16"), b'\x03{"from": "gpt", "value": "\\ud800"}\n',
]  # fmt: skip
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-readers-"))


def one(data: bytes) -> None:
    """One input: its first byte chooses the ending."""
    if not data:
        return
    path = FOLDER / ("d" + ENDINGS[data[0] % len(ENDINGS)])
    path.write_bytes(data[1:])
    spec = JobSpec(model="m", dataset=DatasetSpec(path=path.name))
    shape = None
    try:
        for found in scan(find_sources(path), Reading()):
            if not isinstance(found, Row):
                continue
            if shape is None:
                shape = shape_of(spec, list(found.values), str(path))
            try:
                convert_row(shape, found)
            except UsageProblem as error:
                assert f"{path}:" in error.message, error.message
    except UsageProblem as error:
        assert error.message and str(path) in error.message, error.message
    finally:
        path.unlink()


def main() -> None:
    """Entry point."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    seeds = FOLDER / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(SEEDS):
        (seeds / str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-timeout=10", "-max_len=4096", "-print_final_stats=1", str(seeds)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
