"""The journal on a real file: order, checksums, leases, locks, and every way the disk can fail."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import errors
from orchestrator.ledger import database
from orchestrator.ledger.database import Database
from orchestrator.ledger.journal import Ledger, RunJournal, RunLock, RunRecord, decode, encode, is_controlled, take_over
from orchestrator.plan.budget import Policy
from orchestrator.plan.offers import Offer
from orchestrator.run import events as ev
from orchestrator.run.ports import LeaseLost

ROOT = Path(__file__).resolve().parents[3]


def planned(run: str = "r1") -> ev.Planned:
    offer = Offer(backend="local", cloud="local")
    return ev.Planned(
        at=1.0, run=run, installation="i", fingerprint="f", offers=(offer,), cap_usd=None, deadline_s=None, policy=Policy()
    )  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(Database(tmp_path / "state" / "ledger.sqlite"))
    ledger.add(RunRecord(run="r1", created_at=1.0, folder="/j", source="/j/c.yaml", fingerprint="f", spec="{}"), planned())
    return ledger


def controlled(ledger: Ledger) -> RunJournal:
    return take_over(ledger, "r1", controller="me", now=1.0)


def test_events_come_back_as_written(ledger: Ledger) -> None:
    journal = controlled(ledger)
    event = ev.Intended(at=2.0, command=ev.Create(attempt=1, offer=0, name="n", life_s=None, timer_s=None))
    journal.append(event)
    assert ledger.events("r1") == [planned(), event]
    assert journal.events() == ledger.events("r1")
    assert ledger.find("r").run == "r1"
    with pytest.raises(errors.UnknownRun):
        ledger.find("x")


def test_file_modes(ledger: Ledger) -> None:
    assert ledger.database.path.stat().st_mode & 0o077 == 0
    assert ledger.database.path.parent.stat().st_mode & 0o077 == 0


def test_a_takeover_voids_the_lease_before(ledger: Ledger) -> None:
    first = controlled(ledger)
    first.hold_lease()
    second = controlled(ledger)
    with pytest.raises(LeaseLost):
        first.hold_lease()
    with pytest.raises(LeaseLost):
        first.append(ev.Resumed(at=2.0, controller="old"))
    second.append(ev.Resumed(at=2.0, controller="new"))
    assert len(ledger.events("r1")) == 2


@pytest.mark.parametrize(
    "sql", ["UPDATE events SET body=x'7b7d' WHERE seq=2", "DELETE FROM events WHERE seq=2", "UPDATE events SET seq=9 WHERE seq=3"]
)
def test_a_changed_journal_is_detected(ledger: Ledger, sql: str) -> None:
    journal = controlled(ledger)
    for at in (2.0, 3.0, 4.0):
        journal.append(ev.Resumed(at=at, controller="c"))
    with ledger.database.transaction() as connection:
        connection.execute(sql)
    with pytest.raises(errors.JournalCorrupt):
        ledger.events("r1")


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_bytes_decode_to_an_event_or_are_refused(body: bytes) -> None:
    try:
        event = decode(body)
    except errors.JournalCorrupt:
        return
    assert decode(encode(event)) == event


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_torn_or_flipped_event_is_never_taken_for_another(position: int, value: int) -> None:
    from orchestrator.ledger.journal import chain

    body = encode(planned())
    torn = body[: position % len(body)]
    flipped = bytearray(body)
    flipped[position % len(body)] ^= value or 1
    assert chain(b"", torn) != chain(b"", body)
    assert chain(b"", bytes(flipped)) != chain(b"", body)


def test_a_newer_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    with pytest.raises(errors.LedgerNewer, match="newer cloudtune"):
        Database(path)
    assert path.read_bytes() == before


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(errors.JournalCorrupt):
        Database(path)


def test_a_locked_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    other = Database(ledger.database.path)
    with ledger.database.transaction(), pytest.raises(errors.LedgerLocked), other.transaction():
        pass


def test_a_full_disk_loses_nothing(ledger: Ledger) -> None:
    """SQLite's own page limit stands for the disk: the error is the same SQLITE_FULL."""
    journal = controlled(ledger)
    pages = ledger.database.read("PRAGMA page_count")[0][0]
    ledger.database.read(f"PRAGMA max_page_count={pages}")
    with pytest.raises(errors.LedgerDiskFull):
        for at in range(1000):
            journal.append(ev.Resumed(at=float(at), controller="x" * 2000))
    written = len(ledger.events("r1"))
    ledger.database.read("PRAGMA max_page_count=1000000")
    journal.append(ev.Resumed(at=9999.0, controller="after"))
    assert len(ledger.events("r1")) == written + 1


def test_a_read_only_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Database(path).close()
    uri = f"file:{path}?mode=ro"
    with pytest.raises(sqlite3.OperationalError) as caught, sqlite3.connect(uri, uri=True) as connection:
        connection.execute("CREATE TABLE x (y)")
    assert isinstance(database._translate(caught.value, path), errors.LedgerReadOnly)
    with pytest.raises(errors.LedgerReadOnly):
        Database(Path("/proc/cloudtune/ledger.sqlite"))


def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "file_system_of", lambda folder: "nfs4")
    with pytest.raises(errors.LedgerOnNetwork, match="nfs4"):
        Database(tmp_path / "ledger.sqlite")


def test_file_system_of_names_a_real_one() -> None:
    assert database.file_system_of(Path("/proc")) == "proc"


def test_one_controller_at_a_time(tmp_path: Path) -> None:
    with RunLock(tmp_path, "r1"):
        assert is_controlled(tmp_path, "r1")
        with pytest.raises(errors.RunBusy, match=f"process {os.getpid()}"), RunLock(tmp_path, "r1"):
            pass
    assert not is_controlled(tmp_path, "r1")


def test_kill_9_leaves_every_acknowledged_event(tmp_path: Path) -> None:
    """A writer is killed at a random moment; all that it was told is written is there, in order."""
    code = f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from tests.unit.ledger.test_ledger import *
        ledger = Ledger(Database(Path(sys.argv[1])))
        ledger.add(RunRecord(run="r1", created_at=1.0, folder="/j", source="s", fingerprint="f", spec="{{}}"), planned())
        journal = controlled(ledger)
        for number in range(100000):
            journal.append(ev.Resumed(at=float(number), controller=str(number)))
            print(number, flush=True)
    """
    path = tmp_path / "ledger.sqlite"
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(60)][-1]
        writer.kill()
    events = Ledger(Database(path)).events("r1")
    assert [e.controller for e in events[1:] if isinstance(e, ev.Resumed)] == [str(n) for n in range(len(events) - 1)]
    assert len(events) - 1 > acknowledged


def test_other_disk_errors_have_words_too() -> None:
    class Broken(sqlite3.OperationalError):
        sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE

    class Odd(sqlite3.OperationalError):
        sqlite_errorcode = sqlite3.SQLITE_MISUSE

    assert isinstance(database._translate(Broken("disk I/O error"), Path("/l")), errors.LedgerDiskFull)
    assert type(database._translate(Odd("odd"), Path("/l"))) is errors.LedgerProblem


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for inside in ("ledger.sqlite", "folder/ledger.sqlite"):
        with pytest.raises(errors.LedgerReadOnly):
            Database(tmp_path / "file" / inside)


def test_installation_is_kept(tmp_path: Path) -> None:
    first = Database(tmp_path / "ledger.sqlite").installation()
    assert first == Database(tmp_path / "ledger.sqlite").installation() and len(first) == 6
    assert Database.in_memory().installation() != first


def test_forget_and_wish(ledger: Ledger) -> None:
    journal = controlled(ledger)
    assert journal.wish() is None
    ledger.wish("r1", ev.Reason.USER, 2.0)
    assert journal.wish() is ev.Reason.USER
    journal.append(ev.Resumed(at=100.0, controller="c"))
    assert ledger.beat_at("r1") == 100.0
    ledger.forget("r1")
    assert ledger.runs() == [] and ledger.events("r1") == [] and ledger.beat_at("r1") is None and ledger.tail("r1") == (0, b"")


def test_a_lock_is_freed_once(tmp_path: Path) -> None:
    lock = RunLock(tmp_path, "r1")
    with lock:
        pass
    lock.__exit__()


def test_xdg_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.ledger import paths

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative is ignored")
    assert paths.config_dir() == tmp_path / "c" / "cloudtune"
    assert paths.cache_dir() == Path.home() / ".cache" / "cloudtune"
    assert paths.run_dir("r") == Path.home() / ".local/state/cloudtune/runs/r"
    made = paths.private(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700 and paths.private(made) == made
