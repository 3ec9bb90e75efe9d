"""The timer in front of a pod's start command, inside real pods of the rig."""

from __future__ import annotations

import time

from orchestrator.backends.skypilot.life import start_command
from tests.rigs.test_runpod_rig import Client, client, pytestmark, shared  # noqa: F401 - fixtures, and the marks are this module's too

LIFE_S = 3.0


def ordered(client: Client) -> str:  # noqa: F811
    """A pod whose timer ends it in LIFE_S seconds, with the command in SkyPilot's form."""
    return client.rent(docker_args=f"bash -c '{start_command(time.time() + LIFE_S)} sleep infinity'")


def test_it_ends_itself_by_its_own_key(client: Client) -> None:  # noqa: F811
    row = client.await_truth(ordered(client), "ended_by", "instance")
    assert LIFE_S - 1.0 <= row["ended_at"] - row["created_at"] < LIFE_S + 10.0


def test_it_stops_itself_where_its_key_may_not_terminate(client: Client) -> None:  # noqa: F811
    client.cloud.misbehave(deny_instance_key=True)
    pod = ordered(client)
    assert client.await_truth(pod, "status", "exited")["ended_at"] is None
