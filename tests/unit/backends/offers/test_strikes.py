"""Machines that failed a run: which are blamed, how long, and that the next price list leaves them out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.backends.observers.vast import listed
from orchestrator.backends.offers.blame import strikes_of
from orchestrator.backends.offers.market import price_file
from orchestrator.backends.offers.refresh import refresh
from orchestrator.backends.offers.strikes import FORGIVEN_S, remember, struck
from orchestrator.ledger.paths import state_dir
from orchestrator.plan.budget import Policy
from orchestrator.plan.offers import Offer
from orchestrator.run import events as ev
from orchestrator.run.events import Instance, Reason
from orchestrator.run.state import RunState, fold
from tests.unit.backends.offers.test_market import vast_offer

NAME = "ct-me-aaaa-1"


def failed(reason: Reason, cloud: str = "vast", machine: str = "7", at: float = 100.0) -> RunState:
    offer = Offer(backend="skypilot", cloud=cloud, gpu="RTX4090", count=1, usable_gib=23.5, usd_per_hour=0.3, guard="create-time")
    return fold(
        [
            ev.Planned(
                at=0.0, run="aaaa", installation="me", fingerprint="f", offers=(offer,), cap_usd=5.0, deadline_s=None, policy=Policy()
            ),
            ev.Intended(at=0.0, command=ev.Create(attempt=1, offer=0, name=NAME, life_s=9000.0, timer_s=2400.0)),
            ev.Created(at=5.0, attempt=1, instance_id="i"),
            ev.Seen(at=6.0, attempt=1, instances=(Instance(name=NAME, id="i", gpu="RTX4090", count=1, machine=machine),)),
            ev.Concluded(at=at, command=ev.Doom(attempt=1, reason=reason)),
        ]
    )


def test_vast_says_which_machine_an_instance_is_on() -> None:
    assert listed({"id": 1, "machine_id": 7}, NAME, 0.0).machine == "7"
    assert listed({"id": 1}, NAME, 0.0).machine == ""


@pytest.mark.parametrize("reason", [Reason.UNFIT_BOX, Reason.MISMATCH, Reason.NEVER_READY, Reason.RATE_ABOVE_PLAN])
def test_a_machine_that_failed_is_blamed(reason: Reason) -> None:
    (strike,) = strikes_of(failed(reason))
    assert (strike.cloud, strike.machine, strike.at) == ("vast", "7", 100.0) and strike.why


@pytest.mark.parametrize(
    "reason", [Reason.COMPLETED, Reason.BUDGET, Reason.USER, Reason.BAD_DATA, Reason.OUT_OF_MEMORY, Reason.NO_CAPACITY]
)
def test_what_is_not_its_fault_is_not(reason: Reason) -> None:
    assert strikes_of(failed(reason)) == ()


def test_only_where_the_machine_is_known_to_be_one_owners() -> None:
    assert strikes_of(failed(Reason.UNFIT_BOX, cloud="runpod")) == () and strikes_of(failed(Reason.UNFIT_BOX, machine="")) == ()


def test_a_strike_counts_from_the_failure_and_is_forgiven(tmp_path: Path) -> None:
    state = failed(Reason.UNFIT_BOX)
    assert len(remember(tmp_path, state)) == 1
    assert remember(tmp_path, state) == (), "looking at the run again does not strike again"
    assert struck(tmp_path, "vast", 100.0 + FORGIVEN_S - 1) == {"7"} and struck(tmp_path, "vast", 100.0 + FORGIVEN_S + 1) == frozenset()
    assert len(remember(tmp_path, failed(Reason.UNFIT_BOX, at=5000.0))) == 1, "a newer failure counts anew"


def test_the_next_price_list_leaves_it_out(tmp_path: Path) -> None:
    remember(state_dir(), failed(Reason.MISMATCH))
    answer = json.dumps({"offers": [vast_offer(machine_id=7, dph_base=0.1), vast_offer(machine_id=8, dph_base=0.5)]}).encode()
    assert refresh(tmp_path, "vast", 200.0, deadline_s=None, get=lambda url, body: answer) == (1, None)
    assert (
        "0.52" in price_file(tmp_path, "vast").read_text()
        and "0.12," not in price_file(tmp_path, "vast").read_text().split("RTX4090")[1][:12]
    )
