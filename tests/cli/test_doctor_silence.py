"""A place that does not answer is not a place without a key."""

from __future__ import annotations

import pytest

from orchestrator.cli import places
from orchestrator.cli.doctor import asked
from orchestrator.run.ports import PortError, Refused


@pytest.mark.parametrize("error", [PortError("no route"), Refused("HTTP 401")])
def test_a_new_key_is_advised_only_where_the_key_was_refused(error: PortError) -> None:
    def ask() -> tuple[()]:
        raise error

    found = asked("runpod", ask)
    assert found.state == "problem"
    assert (found.next == places.HOW_TO["runpod"]) == isinstance(error, Refused)
    assert found.next
