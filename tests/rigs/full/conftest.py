"""Fixtures of the drills, and one line each in the log that ``make rigs-full`` keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rigs.full.drills import Desk
from tests.rigs.vast.rig import VastRig
from tests.trainer.trainer_rig import tiny_model  # noqa: F401 - a fixture

MakeDesk = Callable[..., Desk]


@pytest.fixture
def desk(rig: VastRig, tmp_path: Path, tiny_model: Path) -> Desk:  # noqa: F811
    """A job of a minute, with a checkpoint every few seconds."""
    return Desk(rig, tmp_path, tiny_model, epochs=60, save_steps=5)


@pytest.fixture
def short(rig: VastRig, tmp_path: Path, tiny_model: Path) -> Desk:  # noqa: F811
    """A job of a few seconds."""
    return Desk(rig, tmp_path, tiny_model)
