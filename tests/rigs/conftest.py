"""``--rig-log FILE``: one line a test is added to a table, with seconds and, for a drill, what the cloud billed and what cloudtune said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.test_vast_rig import CACHE
from tests.rigs.vast.rig import VastRig

HEAD = "| test | result | s | bill $ | receipt $ | attempts ended by |\n|---|---|---|---|---|---|\n"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rig-log", help="add a line a test to this Markdown file")


class Log:
    """Writes as it goes, so that a run that is cut off leaves what it had."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_text(f"# Rigs, {time.strftime('%Y-%m-%d', time.gmtime())}\n\n{HEAD}", encoding="utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and not (report.when == "setup" and not report.passed):
            return
        said = dict(report.user_properties)
        name = report.nodeid.removeprefix("tests/rigs/").replace("|", "/")
        cells = [name, report.outcome, f"{report.duration:.0f}", said.get("bill", ""), said.get("receipt", "")]
        cells.append("; ".join(str(said[key]) for key in ("end", "note") if key in said))
        with open(self.path, "a", encoding="utf-8") as log:
            log.write("| " + " | ".join(str(cell) for cell in cells) + " |\n")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--rig-log", None):
        config.pluginmanager.register(Log(Path(path)), "rig-log")


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[VastRig]:
    """A market on which boxes can install and train."""
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    with VastRig() as rig:
        rig.cloud.fit()
        yield rig
