"""What one pass over a dataset found: faults, counts and lengths. Reads nothing."""

from __future__ import annotations

import base64
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from orchestrator.data.lengths import Lengths

IMBALANCE = 10  # times as many rows of one label as of another
# leaving rows out does not mend these
FATAL = frozenset(
    {
        "fewer than two labels",
        "no rows",
        "no chat template",
        "no stop token",
        "stop token never learned",
        "template drops answers",
        "label never trained",
    }
)


@dataclass(kw_only=True)
class Report:
    """Filled while rows are read; not changed afterwards."""

    rows: int = 0  # that can be used
    sentence: str = ""
    errors: Counter[str] = field(default_factory=Counter)  # kind -> rows
    first: dict[str, str] = field(default_factory=dict)  # kind -> the first message, file and line in it
    labels: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    leaked: int = 0  # held-out rows that are training rows too
    notes: list[str] = field(default_factory=list)
    counted: bool = False  # by the model's tokenizer; else estimated from characters
    tokenizer: str = ""  # where it came from, or why there is none
    train: Lengths = field(default_factory=Lengths)
    held_out: Lengths = field(default_factory=Lengths)
    train_bytes: int = 0  # of the rows as they go to the trainer
    held_out_bytes: int = 0
    unfit: list[str] = field(default_factory=list)  # places of rows that read well but cannot be used in tokens
    masks: list[dict[str, Any]] = field(default_factory=list)  # a few rows: place, pieces of (text, whether it is learned)

    def add(self, kind: str, message: str) -> None:
        self.errors[kind] += 1
        self.first.setdefault(kind, message)

    def failed(self, *, drops: bool) -> bool:
        """Whether the job cannot be run; ``drops``: rows that cannot be used are left out."""
        return bool(self.errors) and not (drops and self.rows > 0 and FATAL.isdisjoint(self.errors))

    @property
    def reports(self) -> list[str]:
        """What is worth knowing and stops nothing."""
        found = list(self.notes)
        if self.duplicates:
            found.append(f"{self.duplicates} rows are copies of earlier ones; copies may lie on both sides of the split")
        if self.leaked:
            found.append(f"{self.leaked} held-out rows are training rows too: the score will flatter")
        if len(self.labels) > 1 and max(self.labels.values()) > IMBALANCE * min(self.labels.values()):
            (most, many), (least, few) = self.labels.most_common()[0], self.labels.most_common()[-1]
            found.append(f"imbalance: {many} rows of {most!r}, {few} of {least!r}")
        found += self._of_lengths()
        return found

    def _of_lengths(self) -> list[str]:
        found, lengths, about = [], self.train, "" if self.counted else "about "
        if lengths.over:
            share = lengths.cut / max(1, lengths.cut + lengths.total)
            found.append(
                f"{about}{lengths.over} rows are over max_length: {about}{lengths.cut} tokens ({share:.1%}) are cut; the first: "
                f"{lengths.first_over}; the longest has {about}{lengths.longest}"
            )
        if self.counted and lengths.stops and lengths.stops < len(lengths.kept):
            found.append(f"{len(lengths.kept) - lengths.stops} rows are cut before their end, and teach nothing about stopping")
        if lengths.doubled_stops:
            found.append(f"{lengths.doubled_stops} answers hold the end token already, which is written after each of them too")
        return found


def dump(report: Report) -> dict[str, Any]:
    """The report as JSON can hold it."""
    found = {f.name: getattr(report, f.name) for f in fields(Report) if f.name not in ("train", "held_out")}
    return found | {name: _dump_lengths(getattr(report, name)) for name in ("train", "held_out")}


def load(found: dict[str, Any]) -> Report:
    """What :func:`dump` gave. Raises TypeError, KeyError or ValueError for anything else."""
    values = dict(found)
    for name in ("train", "held_out"):
        kept = array("I")
        kept.frombytes(base64.b64decode(values[name].pop("kept"), validate=True))
        values[name] = Lengths(kept=kept, **values[name])
    for name in ("errors", "labels"):
        values[name] = Counter(values[name])
    return Report(**values)


def _dump_lengths(lengths: Lengths) -> dict[str, Any]:
    return asdict(lengths) | {"kept": base64.b64encode(lengths.kept.tobytes()).decode()}
