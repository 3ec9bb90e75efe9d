"""From an offer to SkyPilot's task, and from SkyPilot's refusals to the engine's words."""

from __future__ import annotations

import msgspec
import pytest

from orchestrator.backends.offers.hosts import HostRules
from orchestrator.backends.skypilot import order
from orchestrator.backends.skypilot.client import SkyError, as_error
from orchestrator.backends.skypilot.life import onstart_command
from orchestrator.plan.offers import Offer
from orchestrator.run.ports import NoCapacity, PortError, Refused

VAST = Offer(
    backend="skypilot", cloud="vast", region="US", instance_type="1x-RTX_4090-8-16384", gpu="RTX4090", count=1, usd_per_hour=0.4,
)  # fmt: skip


def test_everything_of_an_offer_is_pinned_and_nothing_is_done_on_it() -> None:
    task = order.task(VAST, "ct-0a1b2c-00000001-1", 16.2, 2400.0)
    assert task["resources"] == {
        "cloud": "vast", "region": "US", "instance_type": "1x-RTX_4090-8-16384", "accelerators": {"RTX4090": 1}, "use_spot": False,
        "disk_size": 17,
    }  # fmt: skip
    assert not {"workdir", "setup", "run", "file_mounts"} & set(task)
    assert task["config"]["vast"]["create_instance_kwargs"] == {"onstart_cmd": onstart_command(2400.0)}


def test_a_pod_may_be_anywhere_unless_the_offer_names_a_country_and_its_end_is_an_instant() -> None:
    pod = msgspec.structs.replace(VAST, cloud="runpod", region="", instance_type="1x_RTX4090_SECURE")
    asked = order.task(pod, "ct-0a1b2c-00000001-1", 16.2, 2400.0)
    assert (asked["resources"]["region"], asked["resources"]["zone"]) == ("anywhere", "anywhere") and "config" not in asked
    there = order.task(msgspec.structs.replace(pod, region="CA"), "ct-0a1b2c-00000001-1", 16.2, 2400.0)
    assert (there["resources"]["region"], there["resources"]["zone"]) == ("CA", "anywhere")
    assert order.variables(pod, 0.0, HostRules(), 1_800_000_000.5)[order.ENDS_AT] == "1800000000.5"


def test_a_slurm_offer_names_its_partition() -> None:
    task = order.task(Offer(backend="skypilot", cloud="slurm", region="rig/t4", gpu="T4", count=2), "ct-0a1b2c-00000001-1", 16.0, 2400.0)
    assert (task["resources"]["region"], task["resources"]["zone"]) == ("rig", "t4")
    assert "config" not in task


def test_slurm_itself_ends_a_job_when_the_money_would_be_gone() -> None:
    offer = Offer(backend="skypilot", cloud="slurm", region="rig/t4", gpu="T4", count=1, usd_per_hour=0.2)
    longest = order.longest_s(offer, 1.0, None, 36_000.0)
    assert longest == 18_000.0, "five hours for a dollar, below the partition's ten"
    task = order.task(offer, "ct-0a1b2c-00000001-1", 16.0, 2400.0, longest)
    assert task["config"] == {"slurm": {"sbatch_options": {"time": "300"}}}
    free = msgspec.structs.replace(offer, usd_per_hour=0.0)
    assert (order.longest_s(free, 1.0, 600.0, None), order.longest_s(free, None, None, None)) == (600.0, None)


@pytest.mark.parametrize(("life_s", "minutes"), [(2400.0, 40), (119.0, 1), (5.0, 1), (None, order.YEAR_MINUTES)])
def test_skypilots_timer_never_fires_more_than_a_minute_late(life_s: float | None, minutes: int) -> None:
    assert order.idle_minutes(life_s) == minutes


def test_the_highest_rate_travels_with_the_order() -> None:
    assert order.variables(VAST, 0.02, HostRules()) == {
        order.RATE_CAP: repr(0.4 * 1.02), order.CLOUD: "vast", order.HOSTS: '{"struck": [], "duration_s": 86400.0}'}  # fmt: skip
    free = msgspec.structs.replace(VAST, usd_per_hour=0.0)
    assert order.variables(free, 0.02, HostRules())[order.RATE_CAP] == "0.0"


def test_the_machines_that_failed_travel_with_it_and_come_out_as_they_went_in() -> None:
    rules = HostRules(duration_s=100_000.0, struck=frozenset({"7", "42"}))
    assert order.host_rules(order.variables(VAST, 0.02, rules)[order.HOSTS]) == rules
    assert order.host_rules(None) == HostRules(struck=frozenset())
    elsewhere = msgspec.structs.replace(VAST, cloud="slurm")
    assert order.HOSTS not in order.variables(elsewhere, 0.02, rules)


@pytest.mark.parametrize(
    ("kind", "message", "meant"),
    [
        ("ResourcesUnavailableError", "Failed to acquire resources in all zones in US for {Vast(...)}", NoCapacity),
        ("RuntimeError", 'Failed to create instances, could not find an offer that satisfies the requirements "num_gpus=1"', NoCapacity),
        ("RuntimeError", "error 404/3603: no_such_ask Instance type by id 102 is not available.", NoCapacity),
        ("NoCloudAccessError", "Cloud access is not set up.", Refused),
        ("ResourcesUnavailableError", "HTTPError: 401 Client Error: Unauthorized for url", Refused),
        ("RuntimeError", "You have insufficient credit", Refused),
        ("RuntimeError", "a bid of 0 $/h is refused: it must be above 0 and at most the offer's rate", Refused),
        ("ValueError", "No instance type 2x-RTX_4090-8-16384 found.", Refused),
        ("ConnectionError", "Connection reset by peer", PortError),
    ],
)
def test_refusals(kind: str, message: str, meant: type[PortError]) -> None:
    assert type(order.refusal(SkyError(kind, message))) is meant


def test_a_failovers_history_says_more_than_its_summary() -> None:
    inner = {"type": "RuntimeError", "message": "no_such_ask"}
    assert "no_such_ask" in str(as_error({"type": "ResourcesUnavailableError", "message": "all failed", "history": [inner]}))
