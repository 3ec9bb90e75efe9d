"""Escrow at home: checkpoints and the adapter in the run's folder, and the adapter in the job's output folder.

Nothing is believed before its hashes match, nothing is replaced before its successor is whole.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from orchestrator.errors import UsageProblem
from orchestrator.ledger.paths import private
from orchestrator.run.ports import HashMismatch, News, Parcel, PortError
from trainer.contract import (
    ADAPTER_DIR,
    CHECKPOINT_DIR,
    MANIFEST_FILE,
    ManifestError,
    newest_checkpoint,
    sync_folder,
    verify_manifest,
)

KEEP_CHECKPOINTS = 2
INCOMING_DIR = "incoming"


class HomeEscrow:
    """The Escrow port on this machine's disk. ``folder``: the run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def verify(self, parcel: Parcel) -> dict[str, str]:
        try:
            files = verify_manifest(parcel.place)
        except ManifestError as error:
            raise HashMismatch(f"{parcel.cargo}: {error}") from error
        if not files:
            raise HashMismatch(f"{parcel.cargo}: its manifest names no file")
        return files

    def keep(self, parcel: Parcel) -> None:
        try:
            if parcel.cargo == "checkpoint":
                self._keep_checkpoint(parcel)
            else:
                replace_folder(parcel.place, self._folder / ADAPTER_DIR)
        except OSError as error:
            raise PortError(f"{parcel.cargo} could not be kept at home: {error.strerror or error}") from error

    def _keep_checkpoint(self, parcel: Parcel) -> None:
        folder = private(self._folder / CHECKPOINT_DIR)
        replace_folder(parcel.place, folder / f"step-{parcel.step}")
        older = sorted((p for p in folder.glob("step-*")), key=lambda p: int(p.name.removeprefix("step-")))
        for path in older[:-KEEP_CHECKPOINTS]:
            shutil.rmtree(path)

    def checkpoint(self) -> Path | None:
        return newest_checkpoint(self._folder / CHECKPOINT_DIR)

    def install(self, target: Path) -> None:
        """Put a copy of the adapter at home into ``target``, all of it or nothing. Raises OSError."""
        copy = target.with_name(f".{target.name}.incoming")
        if copy.exists():
            shutil.rmtree(copy)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self._folder / ADAPTER_DIR, copy)
        replace_folder(copy, target)

    def record(self, attempt: int, cursor: int, news: News) -> None:
        """Keep the box's own lines: byte for byte, at the offset they have there, so that doing it twice is the same."""
        path = private(self._folder) / f"progress-{attempt}.jsonl"
        with open(path, "r+b" if path.exists() else "w+b") as handle:
            handle.seek(cursor)
            handle.write(news.raw)


def replace_folder(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``; what was there goes only after its successor stands. Same file system."""
    old = target.with_name(f".{target.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        target.rename(old)
    source.rename(target)
    sync_folder(target.parent)
    if old.exists():
        shutil.rmtree(old)


def check_output(output: Path) -> None:
    """Refuse an output folder that cannot be written, or that holds anything that is not ours to replace."""
    try:
        _check_output(output)
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL in the name; RuntimeError: links in a circle
        problem = getattr(error, "strerror", None) or error
        raise UsageProblem(f"output.adapter {str(output)[:200]!r} cannot be written: {problem}", hint="name another folder") from error


def _check_output(output: Path) -> None:
    if output.is_symlink() or output.exists():
        if not output.is_dir():
            raise UsageProblem(f"output.adapter {output} is not a folder", hint="name a folder")
        strangers = not_ours(output)
        if strangers:
            raise UsageProblem(
                f"output.adapter {output} holds what is not an adapter of cloudtune's: {', '.join(strangers[:3])}",
                hint="move it away, or name another folder",
            )
    place = output.parent
    while not place.exists():
        place = place.parent
    probe = place / f".{output.name}.incoming"  # the longest name that will be made
    probe.mkdir(exist_ok=True)
    probe.rmdir()


def not_ours(folder: Path) -> list[str]:
    """What a folder holds beside the files of an adapter of ours; empty for an empty folder."""
    present = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())
    if not present:
        return []
    try:
        ours = {*verify_manifest(folder), MANIFEST_FILE}
    except ManifestError:
        return present
    return [name for name in present if name not in ours]
