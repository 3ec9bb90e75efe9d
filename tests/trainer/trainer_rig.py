"""A tiny random Llama, data files and a way to run the real trainer as a user's box does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainer.contract import ExitCode, TrainerConfig, load_config
from trainer.progress import Progress
from trainer.stop import Stop

ROOT = Path(__file__).resolve().parents[2]
RUN_TIMEOUT_S = 120.0
WORDS = ["good", "bad", "fine", "dull", "a", "the", "film", "plot", "actor", "scene", "was", "is", "not", "very", "quite", "and", "but"]
WORDS += ["with", "review", "sentiment", "positive", "negative"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer(folder: Path) -> Any:
    """A word-level tokenizer of a few dozen words with a begin, an end and a chat template."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
    vocabulary = {word: index for index, word in enumerate(specials + WORDS)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in specials])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_tiny_model(folder: Path) -> Path:
    """Fill the folder with a random two-layer Llama in safetensors and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = len(make_tokenizer(folder))
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=size, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        bos_token_id=1, eos_token_id=2, max_position_embeddings=128,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, for all tests."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tiny_model))


def sentiment_rows(count: int, *, start: int = 0) -> list[dict[str, str]]:
    """Labelled prompt and completion rows of several lengths."""
    rows = []
    for number in range(start, start + count):
        label = "positive" if number % 2 else "negative"
        filler = " ".join(WORDS[4 + (number * 3 + i) % 14] for i in range(2 + number * 5 % 9))
        word = "good" if number % 2 else "bad"
        rows.append({"prompt": f"review {filler} {word} sentiment", "completion": f" {label}", "label": label})
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Box:
    """One work folder and the processes started on it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.settings: dict[str, Any] = {
            "model": str(model),
            "train_file": str(write_rows(folder / "train.jsonl", sentiment_rows(45))),
            "eval_file": str(write_rows(folder / "eval.jsonl", sentiment_rows(12, start=100))),
            "labels": ["negative", "positive"],
            "out_dir": str(self.out),
            "threads": 1,
            "save_steps": 3,
            "lora": {"r": 64, "alpha": 64, "dropout": 0.1},  # large enough for 8-bit optimizer states
            "training": {
                "num_train_epochs": 2.0, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-3,
                "max_length": 24, "gradient_checkpointing": False,
            },
        }  # fmt: skip
        self.started: list[subprocess.Popen[str]] = []

    def configure(self, **changes: Any) -> Box:
        """Change settings; ``training`` and ``lora`` are merged."""
        for key, value in changes.items():
            self.settings[key] = {**self.settings[key], **value} if key in ("training", "lora") else value
        return self

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Start a supervisor."""
        path = self.folder / "config.json"
        path.write_text(json.dumps(self.settings), encoding="utf-8")
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(self.folder / "cache"), **environment}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "trainer", str(path)], env=variables, cwd=self.folder, stderr=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process

    def config(self) -> TrainerConfig:
        """The settings as the trainer reads them."""
        path = self.folder / "config.json"
        path.write_text(json.dumps(self.settings), encoding="utf-8")
        self.out.mkdir(exist_ok=True)
        return load_config(path)

    def attempt(self) -> tuple[ExitCode, dict[str, Any]]:
        """One attempt in this process: no supervisor, and errors are raised."""
        from trainer.attempt import run_attempt

        config = self.config()
        said: dict[str, Any] = {}
        with Progress(self.out / "progress.jsonl") as progress:
            return run_attempt(config, progress, Stop(config), said), said

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait; returns exit code and stderr."""
        _, errors = process.communicate(timeout=RUN_TIMEOUT_S)
        return process.returncode, errors

    def run(self, **environment: str) -> tuple[int, str]:
        return self.finish(self.start(**environment))

    def lines(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Progress lines so far."""
        path = self.out / "progress.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [line for line in found if kind is None or line["kind"] == kind]

    def result(self) -> dict[str, Any]:
        body = json.loads((self.out / "result.json").read_text(encoding="utf-8"))
        assert isinstance(body, dict)
        return body

    def adapter(self) -> dict[str, bytes]:
        """Every file of the adapter but its manifest."""
        return {path.name: path.read_bytes() for path in (self.out / "adapter").iterdir() if path.name != "manifest.json"}

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, (self.out / "trainer.log").read_text()
            time.sleep(0.005)

    def wait_for_step(self, step: int) -> None:
        self.wait_for(lambda: any(line["step"] >= step for line in self.lines("step")))

    def log(self) -> str:
        path = self.out / "trainer.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def workers_of(folder: Path) -> list[int]:
    """Process ids of living workers of one work folder."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        line = process.info["cmdline"] or []
        if "trainer.worker" in line and str(folder) in line[-1] and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(int(process.info["pid"]))
    return found


@pytest.fixture
def box(tmp_path: Path, tiny_model: Path) -> Iterator[Box]:
    made = Box(tmp_path, tiny_model)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()
    for pid in workers_of(made.out):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Box:
    """The default box, trained in one go: what every disturbed run must equal."""
    made = Box(tmp_path_factory.mktemp("undisturbed"), tiny_model)
    code, errors = made.run()
    assert code == 0, errors + made.log()
    return made
