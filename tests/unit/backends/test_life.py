"""The create call's timer: short enough for the provider, and nothing in it but numbers of ours."""

from __future__ import annotations

import pytest

from orchestrator.backends.skypilot.life import ONSTART_LIMIT, arm_command, onstart_command

SKYPILOTS_OWN = 1100


def test_it_fits_beside_skypilots_own_lines() -> None:
    assert len(onstart_command(10**7)) + SKYPILOTS_OWN < ONSTART_LIMIT


@pytest.mark.parametrize(("life_s", "whole"), [(0.2, "1"), (59.9, "59")])
def test_whole_seconds_rounded_against_the_user(life_s: float, whole: str) -> None:
    assert f"+{whole}))" in onstart_command(life_s)


def test_a_life_that_is_over_ends_at_once() -> None:
    assert "+0))" in arm_command(-5.0)
