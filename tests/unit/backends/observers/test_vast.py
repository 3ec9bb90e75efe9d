"""Names and rows of Vast as the engine sees them."""

from __future__ import annotations

import pytest

from orchestrator.backends.observers.names import own_name
from orchestrator.backends.observers.vast import VastObserver, accelerator, listed
from orchestrator.run.ports import PortError
from orchestrator.run.selection import instance_name

NAME = instance_name("0a1b2c", "00000001", 12)


@pytest.mark.parametrize("shown", [NAME, f"{NAME}-89abcdef", f"{NAME}-89abcdef-head"])
def test_our_names_are_found_again(shown: str) -> None:
    assert own_name(shown) == NAME


@pytest.mark.parametrize("shown", [None, "", "my-box", f"x{NAME}", f"{NAME}-worker", f"{NAME}1-89abcdef-head-2", "ct-0a1b2c-1-1"])
def test_what_is_not_ours_is_left_alone(shown: str | None) -> None:
    assert own_name(shown) != NAME


@pytest.mark.parametrize(
    ("vast", "sky"),
    [
        ("RTX 4090", "RTX4090"),
        ("Tesla T4", "T4"),
        ("A100 SXM4", "A100"),
        ("RTX 3060 Ti", "RTX3060"),
        ("RTX 6000Ada", "RTX6000-Ada"),
        ("H100 NVL", "H100"),
    ],
)
def test_gpu_names(vast: str, sky: str) -> None:
    assert accelerator(vast) == sky


def test_a_row_of_the_reply() -> None:
    row = {
        "id": 7,
        "actual_status": "running",
        "ssh_port": 2222,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "dph_total": 0.35,
        "start_date": 100.0,
    }
    instance = listed(row, NAME, 160.0)
    assert (instance.id, instance.ready, instance.gpu, instance.count, instance.usd_per_hour, instance.age_s) == (
        "7",
        True,
        "RTX4090",
        1,
        0.35,
        60.0,
    )
    assert listed(row | {"actual_status": "exited"}, NAME, 160.0).stopped
    assert not listed(row | {"actual_status": "loading"}, NAME, 160.0).ready


def test_an_account_that_does_not_answer_is_unknown_and_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vastai", reason="pip install 'vastai>=1.9'")
    monkeypatch.setattr("vastai.VastAI.show_instances", lambda self: (_ for _ in ()).throw(OSError("no route; api_key=secret")))
    with pytest.raises(PortError) as caught:
        VastObserver("k").everything()
    assert "secret" not in str(caught.value)
