"""The SQLite file: opening, schema, durability, and its errors in words. Knows nothing of what events mean.

WAL with ``synchronous=FULL``: an event that ``append`` has returned for survives a power cut. Network file systems are
refused, because SQLite's locks are not safe there.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import (
    JournalCorrupt,
    LedgerDiskFull,
    LedgerLocked,
    LedgerNewer,
    LedgerOnNetwork,
    LedgerProblem,
    LedgerReadOnly,
)
from orchestrator.ledger.paths import private

SCHEMA_VERSION = 1
BUSY_S = 10.0
FILE_NAME = "ledger.sqlite"
# as /proc/mounts and mount(8) name them
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afpfs", "9p", "ceph", "glusterfs", "lustre", "fuse.sshfs", "afs"}
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS installation (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, created_at REAL NOT NULL, folder TEXT NOT NULL, source TEXT NOT NULL,
    fingerprint TEXT NOT NULL, spec TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    run TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, chain BLOB NOT NULL,
    PRIMARY KEY (run, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (
    run TEXT PRIMARY KEY, token INTEGER NOT NULL, controller TEXT NOT NULL, beat_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS wishes (run TEXT PRIMARY KEY, reason TEXT NOT NULL, at REAL NOT NULL);
"""


class Database:
    """One open connection. ``path``: the ledger's file; its folder is created 0700."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._make_folder(path)
        os.umask(os.umask(0) | 0o077)  # the file and its side files: for their owner only
        with translated(path):
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._prepare()

    @classmethod
    def in_memory(cls) -> Database:
        """A ledger that lasts as long as its process, for simulated nights."""
        database = cls.__new__(cls)
        database.path = Path(":memory:")
        database._connection = sqlite3.connect(":memory:", isolation_level=None)
        database._prepare()
        return database

    @staticmethod
    def _make_folder(path: Path) -> None:
        try:
            private(path.parent)
        except OSError as error:
            raise LedgerReadOnly(f"the ledger's folder {path.parent} cannot be made: {error.strerror or error}") from error
        kind = file_system_of(path.parent)
        if kind in NETWORK_FILE_SYSTEMS:
            raise LedgerOnNetwork(
                f"the ledger's folder {path.parent} is on {kind}, where SQLite's locks are not safe",
                hint="set XDG_STATE_HOME to a folder on a local disk",
            )

    def _prepare(self) -> None:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise LedgerNewer(
                f"{self.path} was written by a newer cloudtune (schema {version}, this one knows {SCHEMA_VERSION})",
                hint="pip install -U cloudtune",
            )
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        if version == 0:
            with self.transaction() as connection:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO installation SELECT ? WHERE NOT EXISTS (SELECT 1 FROM installation)", (secrets.token_hex(3),)
                )
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, with the write lock held from the start. Raises LedgerProblem."""
        with translated(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Rows of a query. Raises LedgerProblem."""
        with translated(self.path):
            return self._connection.execute(query, values).fetchall()

    def installation(self) -> str:
        """Six hex digits that mark this ledger's instances in every cloud."""
        return str(self.read("SELECT id FROM installation")[0][0])

    def close(self) -> None:
        self._connection.close()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, saying what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translate(error, path) from error


def _translate(error: sqlite3.DatabaseError, path: Path) -> LedgerProblem:
    code = getattr(error, "sqlite_errorcode", None) or 0
    primary = code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LedgerLocked(f"another process has kept {path} locked for {BUSY_S:.0f} s", hint="cloudtune ps, then try again")
    if primary == sqlite3.SQLITE_FULL:
        return LedgerDiskFull(
            f"no space left for {path}; everything journalled so far is intact", hint="free some space, then the same command"
        )
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return LedgerReadOnly(f"{path} cannot be written ({error})", hint=f"check the owner and mode of {path.parent}")
    if primary == sqlite3.SQLITE_IOERR:
        return LedgerDiskFull(f"{path}: the disk did not take the write ({error})", hint="check the disk, then the same command")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return JournalCorrupt(f"{path} is not a usable ledger ({error})", hint=f"move {path} away; cloudtune sweep finds what still runs")
    return LedgerProblem(f"{path}: {error}")


def file_system_of(folder: Path) -> str:
    """Type of the file system that holds a folder, as the mount table names it; '' when unknown."""
    import psutil

    place = folder.resolve()
    best, kind = -1, ""
    for mount in psutil.disk_partitions(all=True):
        point = Path(mount.mountpoint)
        if place.is_relative_to(point) and len(point.parts) > best:
            best, kind = len(point.parts), mount.fstype
    return kind.lower()
