"""One run's events, checksummed and in order, and the lease that says who may add to them.

Every event's checksum covers the one before, so that a changed, torn or missing event is detected, never misread.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from orchestrator.errors import JournalCorrupt, RunBusy, UnknownRun
from orchestrator.ledger.database import Database
from orchestrator.ledger.paths import private
from orchestrator.run.events import AnyEvent, Reason
from orchestrator.run.ports import LeaseLost
from orchestrator.run.state import RunState, apply

LOCK_TRIES = 3
LOCK_PAUSE_S = 0.05
BEAT_S = 15.0  # the lease's heartbeat is written this often

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What the ledger knows of a run beside its events."""

    run: str
    created_at: float
    folder: str  # the job's folder
    source: str  # the job file as it was named
    fingerprint: str
    spec: str  # JSON of the JobSpec


def encode(event: AnyEvent) -> bytes:
    """An event as the bytes that are stored."""
    return _encoder.encode(event)


def decode(body: bytes) -> AnyEvent:
    """The event of stored bytes. Raises JournalCorrupt for anything this version does not know exactly."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JournalCorrupt(f"an event does not decode: {error}") from error


def chain(previous: bytes, body: bytes) -> bytes:
    """Checksum of an event, over the checksum before it."""
    return hashlib.blake2b(previous + body, digest_size=16).digest()


class Ledger:
    """All runs of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, record: RunRecord, first: AnyEvent) -> None:
        """Enter a run together with its first event."""
        body = encode(first)
        with self.database.transaction() as connection:
            values = (record.run, record.created_at, record.folder, record.source, record.fingerprint, record.spec)
            connection.execute("INSERT INTO runs VALUES (?,?,?,?,?,?)", values)
            connection.execute("INSERT INTO events VALUES (?,?,?,?)", (record.run, 1, body, chain(b"", body)))

    def forget(self, run: str) -> None:
        """Remove a run and all its events. For simulated runs and ``clean``; never for one that has not settled."""
        with self.database.transaction() as connection:
            for table in ("runs", "events", "leases", "wishes"):
                connection.execute(f"DELETE FROM {table} WHERE run=?", (run,))  # noqa: S608  # our own table names

    def runs(self) -> list[RunRecord]:
        """Every run, the newest first."""
        rows = self.database.read(
            "SELECT run, created_at, folder, source, fingerprint, spec FROM runs ORDER BY created_at DESC, rowid DESC"
        )
        return [_record(row) for row in rows]

    def find(self, given: str) -> RunRecord:
        """The run with this id, or the only one whose id begins so. Raises UnknownRun."""
        matches = [r for r in self.runs() if r.run == given] or [r for r in self.runs() if given and r.run.startswith(given)]
        if len(matches) == 1:
            return matches[0]
        what = f"{len(matches)} runs begin with {given!r}" if matches else f"there is no run {given!r}"
        raise UnknownRun(what, hint="cloudtune ps lists them")

    def events(self, run: str) -> list[AnyEvent]:
        """All events of a run. Raises JournalCorrupt on the first that is not what was written."""
        previous = b""
        found: list[AnyEvent] = []
        for expected, (seq, body, stored) in enumerate(
            self.database.read("SELECT seq, body, chain FROM events WHERE run=? ORDER BY seq", (run,)), start=1
        ):
            if not isinstance(body, bytes) or not isinstance(stored, bytes) or seq != expected or chain(previous, body) != stored:
                raise JournalCorrupt(f"run {run}: event {expected} is not what was written", hint="cloudtune sweep finds what still runs")
            found.append(decode(body))
            previous = stored
        return found

    def tail(self, run: str) -> tuple[int, bytes]:
        """Number and checksum of the last event; (0, b"") before the first."""
        rows: list[Any] = self.database.read("SELECT seq, chain FROM events WHERE run=? ORDER BY seq DESC LIMIT 1", (run,))
        return (int(rows[0][0]), bytes(rows[0][1])) if rows else (0, b"")

    def state(self, run: str) -> RunState:
        """The fold of a run's events."""
        state = RunState()
        for event in self.events(run):
            state = apply(state, event)
        return state

    def wish(self, run: str, reason: Reason, at: float) -> None:
        """Ask whoever controls the run to end it."""
        with self.database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO wishes VALUES (?,?,?)", (run, reason.value, at))

    def beat_at(self, run: str) -> float | None:
        """Last heartbeat of the run's controller, unix seconds."""
        rows = self.database.read("SELECT beat_at FROM leases WHERE run=?", (run,))
        return float(str(rows[0][0])) if rows else None


def _record(row: tuple[object, ...]) -> RunRecord:
    run, created_at, folder, source, fingerprint, spec = row
    return RunRecord(
        run=str(run),
        created_at=float(str(created_at)),
        folder=str(folder),
        source=str(source),
        fingerprint=str(fingerprint),
        spec=str(spec),
    )


class RunJournal:
    """The Journal port of one run for one controller. Made by :func:`take_over`."""

    def __init__(self, ledger: Ledger, run: str, *, token: int, clock_now: float) -> None:
        self._ledger = ledger
        self._run = run
        self._token = token
        self._beat_at = clock_now
        self._seq, self._chain = ledger.tail(run)

    def events(self) -> list[AnyEvent]:
        return self._ledger.events(self._run)

    def append(self, event: AnyEvent) -> None:
        body = encode(event)
        link = chain(self._chain, body)
        with self._ledger.database.transaction() as connection:
            self._check(connection.execute("SELECT token FROM leases WHERE run=?", (self._run,)).fetchone())
            connection.execute("INSERT INTO events VALUES (?,?,?,?)", (self._run, self._seq + 1, body, link))
            if event.at - self._beat_at >= BEAT_S:
                connection.execute("UPDATE leases SET beat_at=? WHERE run=?", (event.at, self._run))
                self._beat_at = event.at
        self._seq, self._chain = self._seq + 1, link

    def hold_lease(self) -> None:
        rows = self._ledger.database.read("SELECT token FROM leases WHERE run=?", (self._run,))
        self._check(rows[0] if rows else None)

    def _check(self, row: tuple[object, ...] | None) -> None:
        if row is None or row[0] != self._token:
            raise LeaseLost(f"run {self._run} is controlled by another process")

    def wish(self) -> Reason | None:
        rows = self._ledger.database.read("SELECT reason FROM wishes WHERE run=?", (self._run,))
        return Reason(str(rows[0][0])) if rows else None


def take_over(ledger: Ledger, run: str, *, controller: str, now: float) -> RunJournal:
    """Become the run's controller: every lease handed out before is void from here on."""
    with ledger.database.transaction() as connection:
        row = connection.execute("SELECT token FROM leases WHERE run=?", (run,)).fetchone()
        token = (row[0] if row else 0) + 1
        connection.execute("INSERT OR REPLACE INTO leases VALUES (?,?,?,?)", (run, token, controller, now))
    return RunJournal(ledger, run, token=token, clock_now=now)


class RunLock:
    """The file lock of one run on this machine; freed by the kernel when its holder dies, however it dies."""

    def __init__(self, folder: Path, run: str) -> None:
        self._path = private(folder) / "controller.lock"
        self._run = run
        self._handle: IO[str] | None = None

    def __enter__(self) -> RunLock:
        handle = open(self._path, "a+", encoding="utf-8")  # held until __exit__
        os.set_inheritable(handle.fileno(), False)
        if not _locked(handle):
            handle.seek(0)
            holder = handle.read().strip()
            handle.close()
            raise RunBusy(
                f"run {self._run} is controlled by another cloudtune" + (f" (process {holder})" if holder else ""),
                hint=f"cloudtune attach {self._run} watches it; cloudtune stop {self._run} ends it",
                charged="whatever that run is using",
            )
        handle.seek(0)
        handle.truncate()
        handle.write(json.dumps(os.getpid()))
        handle.flush()
        self._handle = handle
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None


def _locked(handle: IO[str]) -> bool:
    """Take the lock, patiently enough that a mere look at it (:func:`is_controlled`) is not in the way."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(LOCK_PAUSE_S)
    return False


def is_controlled(folder: Path, run: str) -> bool:
    """Whether a living process holds the run's lock."""
    try:
        with RunLock(folder, run):
            return False
    except RunBusy:
        return True
