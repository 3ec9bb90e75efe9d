"""The page ``docs/notebook.md``: a Kaggle notebook in the shape that so many have, its data, and what ``cloudtune import`` says of it.

    python -m benchmarks.notebook [--rows 57477]

The notebook is ours. The data are random words in the columns of the LMSYS arena competition, as many rows as it had; the
lengths are made up (log-normal, mean about 430 words a row). Nothing is downloaded and nothing of the notebook is run.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

WORDS = [
    "the",
    "a",
    "model",
    "answer",
    "of",
    "how",
    "to",
    "write",
    "code",
    "please",
    "explain",
    "why",
    "is",
    "this",
    "and",
    "then",
    "we",
    "can",
    "use",
    "python",
    "list",
    "function",
    "value",
    "returns",
]
COLUMNS = ["id", "model_a", "model_b", "prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"]
CELLS = [
    "!pip install -q transformers peft bitsandbytes",
    """\
import pandas as pd, torch
from datasets import Dataset
from transformers import AutoTokenizer, AutoModelForSequenceClassification, BitsAndBytesConfig, Trainer, TrainingArguments
from peft import LoraConfig, get_peft_model
class CFG:
    model = "/kaggle/input/llama-3/transformers/8b-chat-hf/1"
    max_length = 1024
    lr = 2e-4
    r = 16
train = pd.read_csv("/kaggle/input/lmsys-chatbot-arena/train.csv")
""",
    """\
bnb = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float16)
model = AutoModelForSequenceClassification.from_pretrained(CFG.model, quantization_config=bnb, device_map="auto", num_labels=3)
tok = AutoTokenizer.from_pretrained(CFG.model)
lora = LoraConfig(r=CFG.r, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], task_type="SEQ_CLS")
model = get_peft_model(model, lora)
args = TrainingArguments(output_dir="out", per_device_train_batch_size=1, gradient_accumulation_steps=16, num_train_epochs=1,
    learning_rate=CFG.lr, fp16=True, gradient_checkpointing=True, save_steps=0)
trainer = Trainer(model=model, args=args, train_dataset=Dataset.from_pandas(train))
trainer.train()
""",
]


def write_notebook(path: Path) -> None:
    """An .ipynb of CELLS."""
    cells = [{"cell_type": "code", "source": cell, "metadata": {}, "outputs": [], "execution_count": None} for cell in CELLS]
    path.write_text(json.dumps({"cells": cells, "metadata": {"kernelspec": {"language": "python"}}, "nbformat": 4, "nbformat_minor": 5}))


def write_data(path: Path, rows: int) -> None:
    """``rows`` comparisons of two answers, of random words."""
    chance = random.Random(1)

    def text(mean_words: int) -> str:
        return json.dumps([" ".join(chance.choices(WORDS, k=max(3, int(chance.lognormvariate(0, 0.8) * mean_words))))])

    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS)
        for number in range(rows):
            winner = chance.randrange(3)
            out.writerow([number, "a", "b", text(50), text(190), text(190), *(int(winner == k) for k in range(3))])


def main() -> int:
    """Print what the import says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=57_477)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloudtune-notebook-") as folder:
        write_notebook(Path(folder) / "nb.ipynb")
        write_data(Path(folder) / "train.csv", given.rows)
        command = [sys.executable, "-c", "from orchestrator.cli.app import main; main()", "import", "nb.ipynb"]
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
