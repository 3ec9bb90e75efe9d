"""The ways a training can end early, each with its exit code. Standard library only; must not print or log."""

from __future__ import annotations

import errno

from .contract import ConfigError, ExitCode


class DataError(ValueError):
    """A data file or row that cannot be used; the message names file and line."""


class ModelError(RuntimeError):
    """The model cannot be had or cannot be loaded; the message says why in one line."""


class DivergedError(RuntimeError):
    """The loss is not a number, several steps in a row."""


class UnfitBoxError(RuntimeError):
    """This machine cannot do the job; the message says what it lacks."""


class BusyError(RuntimeError):
    """Another process owns the work folder."""


class StopRequestedError(RuntimeError):
    """A long phase was cut short because the work must end now; the message says who asked."""


DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL_TEXTS = ("No space left on device", "os error 28", "Disk quota exceeded", "PytorchStreamWriter failed writing", "iostream error")
OUT_OF_MEMORY_TEXTS = ("CUDA out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
MAX_CAUSES = 20  # of one exception; a bound because a chain may be a ring


def exit_code_for(error: BaseException) -> ExitCode:
    """The exit code that tells the supervisor what ``error`` means."""
    for cause in _causes(error):
        code = _own_code(cause)
        if code is not ExitCode.CRASH:
            return code
    return ExitCode.CRASH


def _own_code(error: BaseException) -> ExitCode:
    kinds: tuple[tuple[type[BaseException], ExitCode], ...] = (
        (ConfigError, ExitCode.BAD_CONFIG),
        (DataError, ExitCode.BAD_DATA),
        (ModelError, ExitCode.NO_MODEL),
        (DivergedError, ExitCode.DIVERGED),
        (BusyError, ExitCode.BUSY),
        (UnfitBoxError, ExitCode.UNFIT_BOX),
        (MemoryError, ExitCode.OUT_OF_MEMORY),
    )
    for kind, code in kinds:
        if isinstance(error, kind):
            return code
    text = str(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
        return ExitCode.DISK_FULL
    if type(error).__name__ == "OutOfMemoryError" or any(mark in text for mark in OUT_OF_MEMORY_TEXTS):
        return ExitCode.OUT_OF_MEMORY
    if any(mark in text for mark in DISK_FULL_TEXTS):
        return ExitCode.DISK_FULL
    return ExitCode.CRASH


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it came from, newest first."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain and len(chain) < MAX_CAUSES:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain
