"""Cards, verdicts, the ladder of remedies, speed, the JSON document and what a person reads."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli.estimate_view import sentence, show
from orchestrator.estimate.document import estimate_document, notes
from orchestrator.estimate.duration import estimate_speed, operations
from orchestrator.estimate.gpus import all_gpus, find_gpu, verdict
from orchestrator.estimate.ladder import changes, fit, ladder
from orchestrator.estimate.memory import COMPONENTS, estimate_memory
from orchestrator.estimate.model_shapes import bundled_shape
from orchestrator.estimate.problems import UnknownGpu
from orchestrator.estimate.profile import OURS_FP16, TRL_KBIT
from orchestrator.estimate.workload import Workload

Make = Callable[..., Workload]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def threads_job(llama3: Make) -> Workload:
    profile = replace(TRL_KBIT, counter="process")
    return llama3(
        lora_r=64, max_length=512, checkpointing="none", optimizer="paged_adamw_32bit", micro_batch=2, accumulation=8, profile=profile
    )


@pytest.mark.parametrize(
    ("spelled", "name"),
    [("Tesla T4", "T4"), ("NVIDIA A100-SXM4-80GB", "A100-80GB"), ("A100-80GB", "A100-80GB"), ("NVIDIA GeForce RTX 4090", "RTX4090"),
     ("rtx 3090", "RTX3090"), ("NVIDIA H100 80GB HBM3", "H100"), ("L40S", "L40S"), ("V100", "V100-16GB"), ("A100 (80GB)", "A100-80GB")],
)  # fmt: skip
def test_cards_are_found_in_any_spelling(spelled: str, name: str) -> None:
    assert find_gpu(spelled).name == name


def test_an_unknown_card_is_an_error_with_near_names() -> None:
    with pytest.raises(UnknownGpu, match="RTX4090"):
        find_gpu("RTX 4091")


def test_usable_memory_is_below_nominal() -> None:
    for gpu in all_gpus():
        assert 0.85 * gpu.nominal_gb < gpu.usable_gib < gpu.nominal_gb, gpu.name


def test_the_ladder_knows_the_threads_remedies_and_two_more(threads_job: Workload) -> None:
    keys = [change.key for change in changes(threads_job)]
    assert {"gradient_checkpointing", "optim", "target_modules", "per_device_train_batch_size", "n_gpus", "r", "max_length"} <= set(keys)
    assert {"fp32_upcast", "logits"} <= set(keys)
    learned = [change.quality for change in changes(threads_job)]
    assert learned == sorted(learned, key=("none", "changes").index)  # what changes nothing comes first


def test_rungs_say_what_they_save_and_cost(threads_job: Workload) -> None:
    rungs = {rung.change.key: rung for rung in ladder(threads_job, find_gpu("T4"))}
    assert rungs["gradient_checkpointing"].saved > rungs["r"].saved > 0
    assert rungs["gradient_checkpointing"].speed is not None and rungs["gradient_checkpointing"].speed < 0.9


def test_the_batch_shrinks_only_as_accumulation_grows(threads_job: Workload) -> None:
    change = next(c for c in changes(threads_job) if c.key == "per_device_train_batch_size")
    assert change.workload.micro_batch * change.workload.accumulation == threads_job.micro_batch * threads_job.accumulation


def test_fit_keeps_quality_when_it_can(threads_job: Workload) -> None:
    found = fit(threads_job, find_gpu("T4"))
    assert found.fits and all(change.quality == "none" for change in found.changes)
    assert verdict(found.estimate, find_gpu("T4")) == "fits"


def test_fit_says_when_nothing_helps(llama3: Make) -> None:
    found = fit(Workload(shape=bundled_shape("llama-3.1-405b"), profile=OURS_FP16), find_gpu("T4"))
    assert not found.fits
    assert "larger card" in sentence(Workload(shape=bundled_shape("llama-3.1-405b")), find_gpu("T4"))


def test_a_job_that_fits_needs_no_change(llama3: Make) -> None:
    found = fit(llama3(profile=OURS_FP16), find_gpu("A100-80GB"))
    assert found.fits and found.changes == ()


def test_the_sentence_a_person_needs(threads_job: Workload) -> None:
    text = sentence(threads_job, find_gpu("T4"))
    assert text.startswith("On a T4 this runs out of memory by ") and "it fits with" in text
    assert "to spare" in sentence(threads_job, find_gpu("H100"))


def test_the_sentence_names_a_batch_halved_thrice_once(llama3: Make) -> None:
    text = sentence(llama3(micro_batch=8, max_length=2048, profile=OURS_FP16), find_gpu("RTX3070"))
    assert text.count("per_device_train_batch_size") == 1


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_view_is_drawn_at_any_width(threads_job: Workload, width: int) -> None:
    out = io.StringIO()
    for name in ("T4", "H100"):
        show(threads_job, find_gpu(name), Console(file=out, width=width, no_color=True))
    assert "activations" in out.getvalue() and "gradient_checkpointing" in out.getvalue()


def test_operations_follow_the_textbook(llama3: Make) -> None:
    job = llama3(method="full", quantization="none", checkpointing="none")
    assert sum(operations(job, 1000, 1).values()) == pytest.approx(6 * 7_504_924_672 * 1000, rel=0.01)  # 6 N a token, embeddings apart


def test_faster_cards_are_faster_and_checkpointing_costs_a_quarter(llama3: Make) -> None:
    speeds = [estimate_speed(llama3(micro_batch=4), find_gpu(name)).expected for name in ("T4", "L4", "A100-40GB", "H100")]
    assert speeds == sorted(speeds)
    with_it, without = (estimate_speed(llama3(micro_batch=4, checkpointing=c), find_gpu("A100")).expected for c in ("layer", "none"))
    assert 0.6 < with_it / without < 0.85


def test_products_in_fp32_run_on_the_fp32_units(llama3: Make) -> None:
    """After kbit preparation without autocast a card of many FP32 units passes one of many tensor cores."""
    mixed = replace(TRL_KBIT, kbit_preparation=True, autocast=True)
    pro, a100 = find_gpu("RTXPro6000"), find_gpu("A100-80GB")

    def ratio(autocast: bool) -> float:
        job = llama3(max_length=8192, micro_batch=2, profile=replace(mixed, autocast=autocast))
        return estimate_speed(job, pro).expected / estimate_speed(job, a100).expected

    assert ratio(True) < 1.0
    assert ratio(False) > 1.5


def test_attention_gains_less_from_a_newer_card_than_products_do(llama3: Make) -> None:
    def ratio(length: int) -> float:
        job = replace(llama3(quantization="none"), max_length=length, shape=replace(llama3().shape, positions=None))
        h100, a100 = (estimate_speed(job, find_gpu(name)).seconds["products"] for name in ("H100", "A100-80GB"))
        return a100 / h100

    assert ratio(65536) < ratio(4096) - 0.1


def test_gathering_hides_behind_computing(llama3: Make) -> None:
    """Many tokens a step hide what FSDP gathers, but for one layer; few do not."""
    many, few = (
        estimate_speed(llama3(n_gpus=2, parallel="fsdp", micro_batch=b, max_length=n), find_gpu("RTX4090")).seconds
        for b, n in ((8, 2048), (1, 64))
    )
    assert many["communication"] < 0.05 * many["products"]
    assert few["communication"] > few["products"]


def test_little_measured_cards_have_a_wider_band(llama3: Make) -> None:
    t4, a100 = (estimate_speed(llama3(), find_gpu(name)) for name in ("T4", "A100"))
    assert t4.high / t4.expected > a100.high / a100.expected
    hours = a100.hours(1_000_000)
    assert hours["low"] < hours["expected"] < hours["high"]


def test_two_cards_are_not_twice_one(llama3: Make) -> None:
    one, two = (estimate_speed(llama3(n_gpus=n, micro_batch=2), find_gpu("T4")).expected for n in (1, 2))
    assert 1.2 < two / one < 2.0


def test_the_document_has_the_promised_shape(threads_job: Workload) -> None:
    document = estimate_document(threads_job, tokens=5_000_000)
    assert set(document["components_gib"]) == set(COMPONENTS)
    assert sum(document["components_gib"].values()) == pytest.approx(document["peak_gib"]["expected"], abs=0.02)
    assert {"gpu", "usable_gib", "verdict"} == set(document["gpus"][0])
    assert {"change", "peak_gib", "quality", "speed"} <= set(document["ladder"][0])
    assert set(document["hours"]) == {g["gpu"] for g in document["gpus"] if g["verdict"] != "oom"}


def test_notes_say_what_is_particular() -> None:
    mixture = Workload(shape=bundled_shape("Qwen/Qwen3-30B-A3B"), quantization="nf4")
    assert any("mixture of experts" in note for note in notes(mixture))
    assert notes(Workload(shape=bundled_shape("llama-3-8b"), quantization="nf4")) == []
    eight = Workload(shape=bundled_shape("microsoft/deberta-v3-base"), quantization="int8", task="classification", max_length=256)
    assert len(notes(eight)) == 2


def test_the_estimate_is_quick_and_pure() -> None:
    """A whole process with the bundled table, all cards, ladder and document: under 0.3 s of CPU, nothing heavy imported."""
    script = (
        "import sys, time; from orchestrator.estimate.document import estimate_document;"
        "from orchestrator.estimate.model_shapes import bundled_shape; from orchestrator.estimate.workload import Workload;"
        "estimate_document(Workload(shape=bundled_shape('llama-3-8b'), quantization='nf4'), tokens=10**6);"
        "assert not {'torch', 'numpy', 'pandas', 'transformers', 'rich', 'sky'} & set(sys.modules);"
        "print(time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.6  # 0.3 on a quiet machine; test machines are shared


def test_a_memory_estimate_takes_under_a_millisecond(llama3: Make) -> None:
    job = llama3()
    started = time.process_time()
    for _ in range(100):
        estimate_memory(job)
    assert time.process_time() - started < 0.5
