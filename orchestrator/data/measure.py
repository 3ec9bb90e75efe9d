"""Canonical rows in tokens, as the trainer encodes them: how long, what is cut, whether anything carries loss.

Mirrors the trainer's tasks, which need torch; tests hold the two together. Must not stop at the first fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.data.kinds import Canonical
from orchestrator.data.quick import Ids
from orchestrator.data.tokenizer import Encoder
from orchestrator.errors import DataProblem
from orchestrator.spec.jobspec import JobSpec

IGNORED = -100  # a position that carries no loss
PROBE = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One row in tokens."""

    full: int  # before anything is cut
    kept: int  # what the model sees
    learns: bool = True  # some token carries loss
    stops: bool = True  # the end of an answer carries loss
    doubled_stop: bool = False
    fault: tuple[str, str] | None = None  # kind, message without the place


@dataclass(frozen=True, kw_only=True)
class Masked:
    """A row's tokens and their labels, to be shown."""

    ids: list[int]
    labels: list[int]


@dataclass(kw_only=True)
class Measurer:
    """Counts the rows of one job."""

    spec: JobSpec
    encoder: Encoder
    max_length: int = field(init=False)

    def __post_init__(self) -> None:
        self.max_length = self.spec.training.max_length

    def job_faults(self, row: Canonical) -> list[tuple[str, str]]:
        """What is wrong with tokenizer and template for rows like this one, whatever they say: (kind, message)."""
        if self.spec.task == "classification":
            return []
        if "messages" in row:
            return self._template_faults()
        if self.encoder.eos_id is None:
            return [("no stop token", f"the tokenizer of {self.spec.model} names no end token, so the model would never learn to stop")]
        return []

    def _template_faults(self) -> list[tuple[str, str]]:
        template = self.encoder.template
        if template is None:
            said = f"the rows hold messages, but the tokenizer of {self.spec.model} has no chat template"
            return [("no chat template", f"{said}; take its -Instruct or -it version, or state dataset.prompt and dataset.completion")]
        try:
            text = template.render(PROBE)
        except DataProblem:
            return []  # said by each row
        tail = text[text.rfind("answer") + len("answer") :] if "answer" in text else ""
        if "answer" not in text:
            return [("template drops answers", f"the chat template of {self.spec.model} leaves the assistant's answer out")]
        if self.encoder.added(tail.rstrip("\n")) is None:
            end = f"after an answer it writes {tail!r}, in which there is no special token"
            return [
                ("no stop token", f"the chat template of {self.spec.model} has no end of turn: {end}, so the model never learns to stop")
            ]
        return []

    def notes(self, row: Canonical) -> list[str]:
        """What is odd about tokenizer and template and stops nothing."""
        template = self.encoder.template
        if self.spec.task == "classification" or "messages" not in row or template is None:
            return []
        try:
            text = template.render(PROBE)
        except DataProblem:
            return []
        end = self.encoder.added(text[text.rfind("answer") + len("answer") :])
        known = {self.encoder.text(number) for number in self.encoder.ends}
        if end is None or end in known:
            return []
        return [f"the chat template ends an answer with {end!r}, but generation stops at {', '.join(sorted(known)) or 'nothing'}"]

    def measure(self, rows: Sequence[Canonical]) -> list[Measured]:
        """Every row, in order; many at a time are faster."""
        if not rows:
            return []
        if self.spec.task == "classification":
            return self._classified(rows)
        if "messages" in rows[0]:
            return self._chats(rows)
        return self._texts(rows) if "text" in rows[0] else self._answers(rows)

    def _started(self, texts: Sequence[str]) -> list[tuple[int, list[int]]]:
        """(tokens, the first two of them) of texts that something follows: a closing end token is not counted."""
        out = []
        eos, bos, closes = self.encoder.eos, self.encoder.bos, self.encoder.closes
        for text, found in zip(texts, self.encoder.batch(texts, special=True), strict=True):
            length, first = len(found), []
            if bos is not None and bos in text[: len(bos) + 64]:
                first = list(found[:2])
            if text and (closes or (eos is not None and eos in text)) and length and found[-1] == self.encoder.eos_id:
                length -= 1
            out.append((length, first))
        return out

    def _doubled(self, first: list[int]) -> tuple[str, str] | None:
        if len(first) < 2 or first[0] != first[1] or first[0] != self.encoder.bos_id:
            return None
        return "doubled begin token", f"the text begins with {self.encoder.bos!r}, and the tokenizer writes one too"

    def _classified(self, rows: Sequence[Canonical]) -> list[Measured]:
        out, bos = [], self.encoder.bos
        for row, found in zip(rows, self.encoder.batch([row["text"] for row in rows], special=True), strict=True):
            fault = self._doubled(list(found[:2])) if bos is not None and bos in row["text"][: len(bos) + 64] else None
            out.append(Measured(full=len(found), kept=min(len(found), self.max_length), learns=len(found) > 0, fault=fault))
        return out

    def _answers(self, rows: Sequence[Canonical]) -> list[Measured]:
        prompts = self._started([row["prompt"] for row in rows])
        completions = self.encoder.batch([row["completion"] for row in rows], special=False)
        end, eos = (0 if self.encoder.eos_id is None else 1), self.encoder.eos
        out = []
        for row, (length, first), found in zip(rows, prompts, completions, strict=True):
            asked, answer = max(1, length), len(found)
            if not answer:
                out.append(Measured(full=asked, kept=1, learns=False, stops=False))
                continue
            tail = min(answer + end, self.max_length - 1)
            out.append(
                Measured(
                    full=asked + answer + end,
                    kept=tail + min(asked, self.max_length - tail),
                    stops=bool(end) and tail == answer + end,
                    doubled_stop=bool(eos) and row["completion"].rstrip().endswith(str(eos)),
                    fault=self._doubled(first),
                )
            )
        return out

    def _texts(self, rows: Sequence[Canonical]) -> list[Measured]:
        end, eos = (0 if self.encoder.eos_id is None else 1), self.encoder.eos
        out = []
        for row, (length, first) in zip(rows, self._started([row["text"] for row in rows]), strict=True):
            kept = min(length + end, self.max_length)
            out.append(
                Measured(
                    full=length + end,
                    kept=kept,
                    learns=kept > 1,
                    stops=bool(end) and length + end <= self.max_length,
                    doubled_stop=False if not eos else row["text"].rstrip().endswith(eos) and not self.encoder.closes,
                    fault=self._doubled(first),
                )
            )
        return out

    def _chats(self, rows: Sequence[Canonical]) -> list[Measured]:
        template = self.encoder.template
        if template is None:
            raise DataProblem("there is no chat template to count with")
        texts: list[str] = []
        spans: list[list[tuple[int, int]]] = []
        refused: dict[int, str] = {}
        for number, row in enumerate(rows):
            try:
                text = template.render(row["messages"])
                spans.append(template.spans(row["messages"], text))
                texts.append(text)
            except DataProblem as error:
                texts.append("")
                spans.append([])
                refused[number] = error.message
        out = []
        for number, found in enumerate(self.encoder.batch(texts, special=False)):
            if number in refused:
                out.append(Measured(full=0, kept=0, learns=False, stops=False, fault=("template refuses", refused[number])))
            else:
                out.append(self._chat(rows[number], texts[number], spans[number], found))
        return out

    def _chat(self, row: Canonical, text: str, spans: list[tuple[int, int]], found: Ids) -> Measured:
        length, bos = len(found), self.encoder.bos
        fault = self._doubled(list(found[:2])) if bos is not None and bos in text[: len(bos) + 64] else None
        if row["messages"][-1]["role"] == "assistant" and 1 < length <= self.max_length and spans[-1][0] < spans[-1][1]:
            return Measured(full=length, kept=length, fault=fault)  # the last answer is whole, and so is its end
        ids, offsets = self.encoder.with_offsets(text)
        labels = self._chat_labels(ids, offsets, spans)
        seen = offsets[: self.max_length][-1][1] if offsets else 0
        return Measured(
            full=length,
            kept=min(length, self.max_length),
            learns=any(label != IGNORED for label in labels),
            stops=any(start < end <= seen for start, end in spans),
            fault=fault,
        )

    def _chat_labels(self, ids: list[int], offsets: list[tuple[int, int]], spans: list[tuple[int, int]]) -> list[int]:
        everything = self.spec.training.train_on_prompt
        labels = [
            token if everything or any(start <= at[0] < end for start, end in spans) else IGNORED
            for token, at in zip(ids[: self.max_length], offsets, strict=False)
        ]
        return [IGNORED, *labels[1:]]

    def _chat_mask(self, text: str, spans: list[tuple[int, int]]) -> Masked:
        ids, offsets = self.encoder.with_offsets(text)
        return Masked(ids=ids[: self.max_length], labels=self._chat_labels(ids, offsets, spans))

    def mask(self, row: Canonical) -> Masked:
        """The tokens of one row and which of them carry loss. For a classification, which learns a label, none do."""
        encoder = self.encoder
        if self.spec.task == "classification":
            ids = encoder.ids(row["text"], special=True)[: self.max_length]
            return Masked(ids=ids, labels=[IGNORED] * len(ids))
        if "messages" in row:
            text = encoder.template.render(row["messages"]) if encoder.template else ""
            return self._chat_mask(text, encoder.template.spans(row["messages"], text) if encoder.template else [])
        end = [] if encoder.eos_id is None else [encoder.eos_id]
        given = row["text" if "text" in row else "prompt"]
        asked = encoder.ids(given, special=True)
        if given and asked and asked[-1] == encoder.eos_id:
            asked.pop()
        if "text" in row:
            ids = (asked + end)[: self.max_length]
            return Masked(ids=ids, labels=[IGNORED, *ids[1:]])
        start = next((number for number in (encoder.bos_id, encoder.eos_id) if number is not None), 0)
        asked = asked or [start]
        answer = (encoder.ids(row["completion"], special=False) + end)[: self.max_length - 1]
        room = self.max_length - len(answer)
        if len(asked) > room:
            starts = room > 1 and asked[0] == encoder.bos_id
            asked = asked[:1] + asked[len(asked) - room + 1 :] if starts else asked[len(asked) - room :]
        marked = [IGNORED, *asked[1:]] if self.spec.training.train_on_prompt else [IGNORED] * len(asked)
        return Masked(ids=asked + answer, labels=marked + answer)
