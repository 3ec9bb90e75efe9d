"""The job file: every problem at once, with its place; other tools' spellings; layers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecProblems, UsageProblem
from orchestrator.spec.jobspec import JobSpec, duration_s
from orchestrator.spec.parse import FIELDS, find_job_file, load_job

MINIMAL = "model: m\ndataset: {path: d.csv}\n"


def job(tmp_path: Path, text: str | bytes, **layers: object) -> JobSpec:
    path = tmp_path / "cloudtune.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_job(path, environment=layers.pop("environment", {}), **layers).spec  # type: ignore[arg-type]


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    with pytest.raises(SpecProblems) as caught:
        job(tmp_path, text)
    return [str(d).removeprefix(str(tmp_path / "cloudtune.yaml")) for d in caught.value.diagnostics]


def test_defaults(tmp_path: Path) -> None:
    spec = job(tmp_path, MINIMAL)
    assert (spec.task, spec.quantization, spec.lora.r, spec.training.learning_rate) == ("sft", "nf4", 16, 2e-4)
    assert spec.limits.budget_usd is None and spec.resources.gpus == "any"


def test_every_problem_at_once_with_its_place(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "model: m\ndataset: {path: d.csv, evalfraction: 2}\nlora: {r: many}\ntraining:\n  num_train_epochs: 0\nlimits: {deadline: 8}\n",
    )
    assert found == [
        ":2:24: unknown key 'dataset.evalfraction' (did you mean dataset.eval_fraction?)",
        ":3:8: lora.r: expected a whole number, got 'many'",
        ":5:3: training.num_train_epochs: expected a number > 0.0, got 0",
        ":6:10: limits.deadline: expected text or nothing, got 8",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: [", "YAML does not parse"),
        ("", "the file is empty"),
        ("just words", "expected 'key: value' lines"),
        ("model: m\nmodel: n\ndataset: d", "model is given twice, first in line 1"),
        ("dataset: d.csv", "model is missing"),
        ("model: m", "dataset.path is missing"),
        ("model: m\ndataset: d\nlearning_rates: 1", "did you mean training.learning_rate"),
        ("model: m\ndataset: d\nlora: 5", "lora: expected settings below it"),
        ("model: m\ndataset: d\nlr: 1e-4\nlearning_rate: 2e-4", "mean the same but differ; give one"),
        ("model: m\ndataset: d\nweight_decay: .nan", "training.weight_decay"),
        ("model: m\ndataset: d\nbudget: .inf", "limits.budget_usd"),
        ("model: m\ndataset: d\nbudget: -1", "limits.budget_usd: expected a number > 0.0"),
        ("model: m\ndataset: d\ntask: rlhf", "task"),
        ("model: m\ndataset: d\ndeadline: soon", "such as 8h, 90m"),
        ("model: !!python/object/apply:os.system [ls]\ndataset: d", "could not determine a constructor"),
        (b"model: \xff\ndataset: d", "not UTF-8"),
        ("? [a]\n: b", "a key must be plain text"),
        ("a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]", "too many values"),
        ("model: " + "[" * 40 + "]" * 40, "nested too deeply"),
        ("model: " + "[" * 5000, "nested too deeply"),
    ],
)  # fmt: skip
def test_bad_files_get_one_clear_problem(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert any(expected in line for line in problems(tmp_path, text)), problems(tmp_path, text)


def test_other_tools_spellings(tmp_path: Path) -> None:
    axolotl = """
base_model: meta-llama/Meta-Llama-3-8B
datasets: [{path: a.jsonl, type: alpaca}]
load_in_4bit: true
adapter: qlora
lora_r: 32
lora_alpha: 16
lora_target_linear: true
sequence_len: 4096
sample_packing: true
micro_batch_size: 2
num_epochs: 3
optimizer: paged_adamw_32bit
lr_scheduler: cosine
learning_rate: 2e-4
val_set_size: 0.05
train_on_inputs: false
warmup_ratio: 0.1
"""
    spec = job(tmp_path, axolotl)
    assert (spec.model, spec.dataset.path, spec.quantization) == ("meta-llama/Meta-Llama-3-8B", "a.jsonl", "nf4")
    assert (spec.lora.r, spec.lora.alpha, spec.lora.target_modules) == (32, 16, "all-linear")
    t = spec.training
    assert (t.max_length, t.packing, t.per_device_train_batch_size, t.num_train_epochs) == (4096, "auto", 2, 3.0)
    assert (t.optim, t.learning_rate, t.warmup_steps, t.train_on_prompt) == ("paged_adamw_32bit", 2e-4, 0.1, False)
    assert spec.dataset.eval_fraction == 0.05
    factory = "model_name_or_path: m\ndataset: d\nquantization_bit: 8\nfinetuning_type: lora\nlora_rank: 8\nlora_target: all\ncutoff_len: 99\nstage: sft"
    spec = job(tmp_path, factory)
    assert (spec.quantization, spec.lora.r, spec.lora.target_modules, spec.training.max_length) == ("int8", 8, "all-linear", 99)
    spec = job(tmp_path, MINIMAL + "max_seq_length: 77\nassistant_only_loss: true\nbudget: $5\ninfra: local,vast\n")
    assert (spec.training.max_length, spec.training.train_on_prompt, spec.limits.budget_usd) == (77, False, 5.0)
    assert spec.resources.infra == ("local", "vast")


def test_layers_and_origins(tmp_path: Path) -> None:
    path, user = tmp_path / "cloudtune.yaml", tmp_path / "config.yaml"
    path.write_text(MINIMAL + "lora: {r: 4}\ntraining: {seed: 1, max_length: 64}\n")
    user.write_text("lora: {r: 2, alpha: 2}\n")
    environment = {"CLOUDTUNE_BUDGET": "3", "CLOUDTUNE_TRAINING__SEED": "9", "CLOUDTUNE_BOX": "ignored"}
    loaded = load_job(path, flags={("limits", "budget_usd"): 5.0, ("model",): None}, environment=environment, user_config=user)
    spec = loaded.spec
    assert (spec.limits.budget_usd, spec.training.seed, spec.lora.r, spec.lora.alpha) == (5.0, 9, 4, 2)
    assert loaded.origins["limits.budget_usd"] == "flag"
    assert loaded.origins["training.seed"] == "environment CLOUDTUNE_TRAINING__SEED"
    assert loaded.origins["lora.r"] == f"{path}:3" and loaded.origins["lora.alpha"] == f"{user}:1"


def test_find_job_file(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="does not exist"):
        find_job_file(tmp_path / "nowhere")
    with pytest.raises(UsageProblem, match=r"no cloudtune\.yaml"):
        find_job_file(tmp_path)
    (tmp_path / "cloudtune.yml").write_text(MINIMAL)
    assert find_job_file(tmp_path) == tmp_path / "cloudtune.yml"


@pytest.mark.parametrize(("text", "seconds"), [("8h", 28800), ("90m", 5400), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400), ("45s", 45)])
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_job_or_problems(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "cloudtune.yaml"
    path.write_bytes(text)
    with pytest.raises(SpecProblems) as caught:
        load_job(path, environment={})
    assert caught.value.diagnostics


@given(
    st.sampled_from(sorted(FIELDS)),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5),
)
@settings(max_examples=300, deadline=None)
def test_any_value_for_any_key(tmp_path_factory: pytest.TempPathFactory, key: tuple[str, ...], value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(MINIMAL)
    try:
        spec = load_job(path, flags={key: value}, environment={}).spec
    except SpecProblems as error:
        assert key[-1] in error.message
    else:
        assert isinstance(spec, JobSpec)
