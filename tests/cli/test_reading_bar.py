"""The bar of ``check``, in a real terminal: it appears there, moves, and is nowhere else."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

import pytest

from tests.cli.conftest import Desk

TIMEOUT_S = 120.0
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?) MB")


@pytest.fixture
def large(desk: Desk) -> Desk:
    """About 12 MB of rows, which take more than a second to count."""
    model = (desk.job / "cloudtune.yaml").read_text().splitlines()[0]
    row = '{"prompt": "%06d %s", "completion": "good"}\n'
    words = "film plot actor scene quite very " * 18
    with open(desk.job / "d.jsonl", "w", encoding="utf-8") as handle:
        for number in range(18_000):
            handle.write(row % (number, words))
    (desk.job / "cloudtune.yaml").write_text(f"{model}\ndataset: d.jsonl\n", encoding="utf-8")
    return desk


def in_a_terminal(desk: Desk, *arguments: str) -> tuple[int, str]:
    """(exit code, all that the command wrote to a terminal of 100 columns as its stderr)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-P", "-c", "from orchestrator.cli.app import main; main()", *arguments]
    environment = desk.environment() | {"TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        command, cwd=desk.job, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave, start_new_session=True
    )
    os.close(slave)
    written, end = b"", time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        if select.select([master], [], [], 0.2)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not part:
                break
            written += part
        elif process.poll() is not None:
            break
    os.close(master)
    return process.wait(timeout=10), written.decode("utf-8", "replace")


def test_it_appears_in_a_terminal_and_moves(large: Desk) -> None:
    code, written = in_a_terminal(large, "check", "--offline")
    assert code == 0 and "Traceback" not in written, written[-2000:]
    size_mb = (large.job / "d.jsonl").stat().st_size / 1e6
    shown = [(float(done), float(total)) for done, total in AMOUNT.findall(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written))]
    assert "reading" in written and all(total == pytest.approx(size_mb, abs=0.1) for _, total in shown), written[:2000]
    amounts = [done for done, _ in shown]
    assert amounts == sorted(amounts) and len(set(amounts)) >= 3, amounts
    assert amounts[0] < size_mb / 2 and amounts[-1] <= size_mb + 0.1, amounts


def test_it_leaves_no_trace_in_a_document(large: Desk) -> None:
    code, written = in_a_terminal(large, "check", "--offline", "-o", "json")
    assert code == 0 and not AMOUNT.search(written), written[:2000]


def test_it_is_not_written_into_a_file(large: Desk) -> None:
    code, _, err = large.run("check", "--offline")
    assert code == 0 and not AMOUNT.search(err) and "\x1b" not in err
