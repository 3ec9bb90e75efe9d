"""Every error cloudtune shows a person, and the exit code that goes with it.

CloudtuneError
├── UsageProblem            2   bad usage, spec or data
│   ├── SpecProblems            the job file, every problem at once
│   ├── DataProblem             a dataset that cannot be used
│   ├── ModelProblem            a model that cannot be had
│   ├── MissingExtra            an optional part is not installed
│   ├── UnknownRun              no such run in the ledger
│   └── RunBusy                 another controller holds this run
├── LedgerProblem           2   the ledger cannot be used; nothing was changed
│   ├── LedgerLocked, LedgerReadOnly, LedgerDiskFull, LedgerOnNetwork
│   ├── LedgerNewer             written by a newer cloudtune
│   └── JournalCorrupt          an event does not match its checksum
├── NoOfferFits             3   nothing can be rented for this job within its limits
├── TeardownUnconfirmed     6   an instance may still be charged
└── Interrupted           130   Ctrl-C

A message says what happened and why; ``hint`` is the next thing to type; ``charged`` is what is being charged, which
is "nothing" unless said otherwise. Must not import anything heavier than the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the ``cloudtune`` process says with its exit status."""

    OK = 0
    BUG = 1
    USAGE = 2
    NO_OFFER = 3
    STOPPED = 4
    TRAINING_FAILED = 5
    TEARDOWN_UNCONFIRMED = 6
    INTERRUPTED = 130


class CloudtuneError(Exception):
    """Base of everything that is shown to a person without a traceback."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None, charged: str = "nothing") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.charged = charged


class UsageProblem(CloudtuneError):
    """Something the user typed or wrote cannot be used. Nothing was started."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One problem in a file. Lines and columns count from 1; 0 means "the whole file"."""

    source: str
    line: int
    column: int
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        return f"{place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class SpecProblems(UsageProblem):
    """The job file is wrong; ``diagnostics`` holds every problem, in the order of the file."""

    def __init__(self, diagnostics: Sequence[Diagnostic], *, hint: str | None = None) -> None:
        self.diagnostics = tuple(diagnostics)
        count = len(self.diagnostics)
        lines = "\n".join(f"  {d}" for d in self.diagnostics)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the job:\n{lines}", hint=hint)


class DataProblem(UsageProblem):
    """A dataset that cannot be read or used; the message names file and line."""


class ModelProblem(UsageProblem):
    """A model that does not exist, is gated, or cannot be reached from here."""


class MissingExtra(UsageProblem):
    """A command needs an optional part of cloudtune that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the optional part [{extra}], which is not installed", hint=f"pip install 'cloudtune[{extra}]'")


class UnknownRun(UsageProblem):
    """The ledger holds no such run."""


class RunBusy(UsageProblem):
    """Another cloudtune process controls this run right now."""


class LedgerProblem(CloudtuneError):
    """The ledger cannot be used as it is. Nothing in it was changed."""

    exit_code = ExitCode.USAGE


class LedgerLocked(LedgerProblem):
    """Another process kept the database locked for longer than the busy bound."""


class LedgerReadOnly(LedgerProblem):
    """The database or its folder cannot be written."""


class LedgerDiskFull(LedgerProblem):
    """No room for the next event; what was journalled before is intact."""


class LedgerOnNetwork(LedgerProblem):
    """The ledger's folder is on a network file system, where SQLite's locks are not safe."""


class LedgerNewer(LedgerProblem):
    """The ledger was written by a newer cloudtune, whose events this one may misread."""


class JournalCorrupt(LedgerProblem):
    """A stored event does not decode or does not match its checksum; it is never guessed at."""


class NoOfferFits(CloudtuneError):
    """Nothing can be rented for this job within its limits."""

    exit_code = ExitCode.NO_OFFER


class TeardownUnconfirmed(CloudtuneError):
    """The Observer has not confirmed that nothing is left; something may still be charged."""

    exit_code = ExitCode.TEARDOWN_UNCONFIRMED


class Interrupted(CloudtuneError):
    """Ctrl-C."""

    exit_code = ExitCode.INTERRUPTED
