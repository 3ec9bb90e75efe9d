"""Which files a dataset is made of: one file, an archive's members, or a folder's. Never extracts, never follows a way out.

What a file is, is decided by its ending and by its first bytes: a login page, a Git LFS pointer or a foreign binary is
named as what it is. Knows nothing of rows.
"""

from __future__ import annotations

import gzip
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from orchestrator.errors import DataProblem

KINDS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".txt": "text"}
READABLE = (*KINDS, ".zip", ".gz")
MAX_FILES = 10_000
MAX_MEMBER_BYTES = 200 * 2**30
BOMB_RATIO, BOMB_BYTES = 200, 64 * 2**20  # text compresses up to about 20 to 1; more than this is not data
HEAD_BYTES = 1 << 20
# files that lie beside data and are not data
HELD = ("test", "valid", "val", "eval", "dev")  # how files begin that are to score on
BESIDE = (
    "readme",
    "license",
    "licence",
    "dataset_info",
    "dataset_infos",
    "state",
    "sample_submission",
    "kernel-metadata",
    "package",
    "dropped.jsonl",
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One stream of rows."""

    name: str  # as a person reads it: a path, or archive.zip!member
    kind: str  # csv | tsv | json | jsonl | parquet | text
    size_bytes: int  # uncompressed; of a .gz: as it lies on disk
    path: Path
    member: str | None = None  # inside a zip

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes, decompressed as they are read. Raises DataProblem or OSError."""
        if self.member is not None:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as handle:
                yield handle
        elif self.path.suffix.lower() == ".gz":
            with gzip.open(self.path) as packed:
                yield _Bounded(packed, self.name, BOMB_RATIO * self.path.stat().st_size + BOMB_BYTES)  # type: ignore[arg-type, misc]
        else:
            with open(self.path, "rb") as plain:
                yield plain


class _Bounded:
    """A decompressing stream that refuses to grow beyond what data could be."""

    def __init__(self, handle: IO[bytes], name: str, limit_bytes: int) -> None:
        self._handle, self._name, self._left = handle, name, limit_bytes
        self.closed = False

    def _counted(self, block: bytes) -> bytes:
        self._left -= len(block)
        if self._left < 0:
            raise DataProblem(f"{self._name} unpacks to more than {BOMB_RATIO} times its size: not a dataset")
        return block

    def read(self, size: int = -1) -> bytes:
        return self._counted(self._handle.read(size if size >= 0 else self._left + 1))

    read1 = read

    def readline(self, size: int = -1) -> bytes:
        return self._counted(self._handle.readline(size if size >= 0 else self._left + 1))

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        self.closed = True


def find_sources(path: Path, *, root: Path | None = None, held_out: bool = False) -> list[Source]:
    """The sources of a dataset, in order of name. ``root``: where links may lead; default: the folder itself.

    Of many files those to train on; with ``held_out`` those to score on.

    Raises DataProblem for what does not exist, cannot be read, or leads out of its folder or archive.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise DataProblem(f"dataset {path} does not exist", hint="check dataset.path; it is relative to the job file") from error
    except (OSError, ValueError) as error:
        raise DataProblem(f"dataset {str(path)[:200]!r} cannot be looked at: {error}") from error
    if stat.S_ISDIR(mode):
        return _folder(path, (root or path).resolve(), held_out=held_out)
    if not stat.S_ISREG(mode):
        raise DataProblem(f"dataset {path} is a device or a pipe, not a file")
    if path.stat().st_size == 0:
        raise DataProblem(f"dataset {path} is empty")
    if path.suffix.lower() == ".zip":
        return _archive(path, held_out=held_out)
    kind = _kind(path.name)
    if kind is None:
        raise DataProblem(
            f"dataset {path}: {path.suffix or 'no ending'} is not read yet",
            hint=f"readable are {', '.join(READABLE)}, and a folder of these",
        )
    return [_sniffed(Source(name=str(path), kind=kind, size_bytes=path.stat().st_size, path=path))]


def _kind(name: str) -> str | None:
    pure = PurePosixPath(name.lower())
    return KINDS.get(PurePosixPath(pure.stem).suffix if pure.suffix == ".gz" else pure.suffix)


def _folder(folder: Path, root: Path, *, held_out: bool) -> list[Source]:
    found: list[Source] = []
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if number >= MAX_FILES:
            raise DataProblem(f"dataset {folder} holds more than {MAX_FILES} files", hint="name one file, or a smaller folder")
        shown = path.relative_to(folder)
        if any(part.startswith((".", "__MACOSX")) for part in shown.parts) or _kind(path.name) is None:
            continue
        if path.is_symlink() and not _leads_somewhere(path):
            raise DataProblem(
                f"{path} is a link to nothing, so that its rows would be missing", hint="fetch what it names, or remove the link"
            )
        if not path.resolve().is_relative_to(root):
            raise DataProblem(
                f"{path} is a link that leads out of the dataset's folder", hint="copy the file into the folder, or remove the link"
            )
        if path.is_file():
            found.append(Source(name=str(path), kind=str(_kind(path.name)), size_bytes=path.stat().st_size, path=path))
    return _chosen(found, str(folder), held_out=held_out)


def _leads_somewhere(link: Path) -> bool:
    try:
        return link.exists()
    except OSError:  # in a circle
        return False


def _archive(path: Path, *, held_out: bool) -> list[Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise DataProblem(f"{path} is not a usable zip file: {error}", hint="download it again") from error
    if len(members) > MAX_FILES:
        raise DataProblem(f"{path} holds more than {MAX_FILES} files")
    found = []
    for member in members:
        _refuse_member(path, member)
        pure = PurePosixPath(member.filename)
        if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in pure.parts) or _kind(member.filename) is None:
            continue
        if pure.suffix.lower() == ".gz":
            raise DataProblem(f"{path}!{member.filename}: compressed twice", hint="unpack the zip into a folder and name that")
        found.append(
            Source(
                name=f"{path}!{member.filename}",
                kind=str(_kind(member.filename)),
                size_bytes=member.file_size,
                path=path,
                member=member.filename,
            )
        )
    return _chosen(found, str(path), held_out=held_out)


def _refuse_member(path: Path, member: zipfile.ZipInfo) -> None:
    shown = f"{path}!{member.filename[:200]}"
    pure = PurePosixPath(member.filename.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or (pure.parts and ":" in pure.parts[0]):
        raise DataProblem(f"{shown} climbs out of the archive", hint="an archive with such a name is not to be trusted")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataProblem(f"{shown} is a link inside an archive", hint="pack the file itself")
    if member.flag_bits & 1:
        raise DataProblem(f"{shown} is encrypted", hint="unpack it with its password and name the folder")
    if member.file_size > MAX_MEMBER_BYTES or (
        member.file_size > BOMB_BYTES and member.file_size > BOMB_RATIO * max(1, member.compress_size)
    ):
        raise DataProblem(f"{shown} unpacks to {member.file_size / 2**20:,.0f} MiB from {member.compress_size / 2**20:,.1f}: not a dataset")


def _chosen(found: list[Source], place: str, *, held_out: bool) -> list[Source]:
    """Of many files the ones to train on: ``train*`` where there are such; never files that lie beside data.

    With ``held_out`` the ones to score on: ``test*``, ``valid*`` and the like, where there are such.
    """
    data = [s for s in found if not _stem(s).startswith(BESIDE)]
    if any(s.kind != "text" for s in data):  # notes beside tables
        data = [s for s in data if s.kind != "text"]
    held = [s for s in data if _stem(s).startswith(HELD)]
    train = [s for s in data if _stem(s).startswith("train")]
    chosen = (held if held_out else train) or data
    if not chosen:
        raise DataProblem(f"dataset {place} holds no file that can be read", hint=f"readable are {', '.join(KINDS)}")
    if not held_out and any(s not in held for s in chosen):
        chosen = [s for s in chosen if s not in held]
    for source in chosen:
        if source.size_bytes == 0:
            raise DataProblem(f"{source.name} is empty")
    return [_sniffed(source) for source in chosen]


def _stem(source: Source) -> str:
    return PurePosixPath(source.member or source.path.name).name.lower()


def _sniffed(source: Source) -> Source:
    """The source, or a DataProblem saying what its first bytes really are."""
    try:
        with source.open() as handle:
            head = handle.read(4096)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataProblem(f"{source.name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    name, start = source.name, head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if head.startswith(b"version https://git-lfs"):
        raise DataProblem(f"{name} is a Git LFS pointer, not the data", hint="git lfs pull, in the folder it was cloned to")
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")) or (source.kind != "text" and start.startswith(b"<script")):
        raise DataProblem(
            f"{name} is a web page (perhaps a login), not data", hint="download it again while signed in, or by its raw address"
        )
    if head.startswith(b"PAR1") != (source.kind == "parquet"):
        raise DataProblem(f"{name} is {'' if head.startswith(b'PAR1') else 'not '}a Parquet file", hint="give it the ending of what it is")
    magic = {
        b"PK\x03\x04": "a zip or Excel file",
        b"\x1f\x8b": "a gzip file",
        b"%PDF": "a PDF",
        b"\x89PNG": "a picture",
        b"SQLite format": "a database",
    }
    for mark, what in magic.items():
        if head.startswith(mark):
            raise DataProblem(f"{name} is {what}, whatever its ending says", hint="export it as csv or jsonl, or give it its own ending")
    return source
