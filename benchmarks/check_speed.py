"""Speed and memory of ``cloudtune check`` on made-up JSON lines of 1,000 bytes: ``python -m benchmarks.check_speed [MB] [chat]``.

The text has common and rare words (one in twelve is seen once), capitals, numbers, contractions, punctuation, and one row in
twelve holds letters beyond ASCII. ``chat``: the rows are conversations, which the model's chat template has to write first.

With the packaged SmolLM2 tokenizer, where its package is installed, tokens are counted too. MB/s is of processor time, all cores.
"""

from __future__ import annotations

import itertools
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.backends.vocabulary import find_tokenizer
from orchestrator.data.check import check_data
from orchestrator.data.measure import Measurer
from orchestrator.data.tokenizer import Encoder
from orchestrator.spec.parse import load_job

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def _word(chance: random.Random) -> str:
    word = "".join(chance.choices("etaoinshrdlucmfwypvbgkjqxz", weights=range(26, 0, -1), k=chance.randint(2, 11)))
    return (
        word.capitalize() if chance.random() < 0.12 else word + chance.choice(["'s", "n't", "ing", "ed"]) if chance.random() < 0.1 else word
    )


def _texts(chance: random.Random, rows: int) -> Iterator[tuple[str, str]]:
    """Pairs of about 680 and 270 characters."""
    common = [_word(chance) for _ in range(30_000)]
    weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(common))))  # Zipf's law
    for number in range(rows):
        words = chance.choices(common, cum_weights=weights, k=165)
        for place in range(0, 165, 12):
            words[place] = _word(chance)
        for place in range(7, 165, 17):
            words[place] += chance.choice([",", ".", ".", "!", "?", ":", ";", ".\n\n", " (", ") ", " -"])
        words[3], words[90] = str(number), f"{chance.random() * 1000:.2f}"
        if number % 12 == 0:
            words[20:24] = ["naïve", "Привет", "日本語の文章", "🙂"]
        text = " ".join(words)
        yield text[:680], text[680:950] or "yes"


def main() -> None:
    """Entry point."""
    size_mb, chat = int(next(iter(sys.argv[1:]), 1000)), "chat" in sys.argv
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data.jsonl")
        with open(data, "w", encoding="utf-8") as handle:
            for asked, answer in _texts(chance, size_mb * 1000):
                turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
                row = {"messages": turns} if chat else {"prompt": asked, "completion": answer}
                handle.write(json.dumps(row, ensure_ascii=False) + "\n")
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
