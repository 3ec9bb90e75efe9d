"""Token ids by ``fastokens``, which is some twenty times as fast as ``tokenizers`` and must never be believed unseen.

It is used where it loads the model's tokenizer.json and gives the very ids of ``tokenizers`` on trial texts made to part
them. A text that it refuses is left to ``tokenizers``. What is checked while rows are counted is :mod:`orchestrator.data.tokenizer`'s.
"""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

Ids = Sequence[int]
_CONTRACTED = ("I'm", "you'Re", "WE'LL", "it'S", "he'd've", "don't", "'tis", "o''clock", "l'été", "James’s")
_BLANKS = (
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\n\n",
    " \n ",
    "\t\t\n",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\u2028",
    "\x85",
    "\x0b",
    "\x0c",
    "\x1c",
)
_NUMBERS = ("7", "42", "123", "1234567", "3.14159", "1,000,000", "٣٤٥", "½", "x²", "Ⅷ", "1st", "0xFF")
_WORDS = (
    "The", "quick", "naïve", "cafe\u0301", "Straße", "İstanbul", "ſharp", "ǅ", "日本語の文章", "ひらがな", "한국어", "اللغة العربية",
    "हिन्दी", "Привет", "ไทย", "🙂", "👩‍👩‍👧", "\u200b", "\ufeff", "\U0001d400", "\U000e0001", "\U00040000", "\x00", "\x04",
    "CamelCase", "snake_case", "aaaaaaaaaaaa",
)  # fmt: skip
_MARKS = ("!!!", "...", "():", "{", "}", "->", "--", "//", "_", "<|", "|>", "</s>", "<s>", '"', "''", "#", "$", "\\n", "=====")
_LEADS = {
    lead: (bounds[0], bounds[-1])
    for lead in range(0xC2, 0xF5)
    if (bounds := [(lead & 0x1F) << 6, ((lead & 0x1F) << 6) | 0x3F] if lead < 0xE0
        else [max(0x800, (lead & 0xF) << 12), ((lead & 0xF) << 12) | (0xFFF if lead != 0xED else 0x7FF)] if lead < 0xF0
        else [max(0x10000, (lead & 7) << 18), min(0x10FFFF, ((lead & 7) << 18) | 0x3FFFF)])
}  # fmt: skip
LONG_CHARS = 70_000  # long texts are split between threads


class Quick:
    """The ids of many texts at once. Made by :func:`quick`."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self._refused = self._probed()

    def _probed(self) -> re.Pattern[str] | None:
        """Characters that it refuses whatever is around them: some vocabularies lack the tokens of rare bytes."""
        found = [chr(number) for number in range(128) if self._flat([chr(number)], special=False) is None]
        ranges = [re.escape(character) for character in found]
        for lead in range(0xC2, 0xF5):  # the first byte of a character in UTF-8 decides
            low, high = _LEADS[lead]
            if self._flat([chr(low)], special=False) is None and self._flat([chr(high)], special=False) is None:
                ranges.append(f"{chr(low)}-{chr(high)}")
        return re.compile(f"[{''.join(ranges)}]") if ranges else None

    def batch(self, texts: list[str], *, special: bool) -> list[Ids | None]:
        """The ids of each text; None where it refuses one, as for a byte that the vocabulary has no token for."""
        found = self._flat(texts, special=special)
        if found is not None:
            return list(found)
        if len(texts) == 1:
            return [None]
        if self._refused is not None:
            plain = [place for place, text in enumerate(texts) if self._refused.search(text) is None]
            if len(plain) < len(texts):
                out: list[Ids | None] = [None] * len(texts)
                for place, ids in zip(plain, self.batch([texts[place] for place in plain], special=special), strict=True):
                    out[place] = ids
                return out
        half = len(texts) // 2
        return self.batch(texts[:half], special=special) + self.batch(texts[half:], special=special)

    def _flat(self, texts: list[str], *, special: bool) -> Sequence[Ids] | None:
        if not texts:
            return []
        try:
            ids, ends = self._core.encode_batch_flat(texts, special)
        except (ValueError, RuntimeError, OverflowError):
            return None
        numbers, places = memoryview(ids).cast("I"), memoryview(ends).cast("Q").tolist()
        return [numbers[start:end] for start, end in itertools.pairwise(places)]


def quick(document: str, slow: Any, added: Sequence[str]) -> Quick | None:
    """``fastokens`` for this tokenizer.json, when it is installed, can read it and agrees with ``slow``; else None.

    ``slow``: the ``tokenizers.Tokenizer`` of the same document; ``added``: its added tokens, which take part in the trial.
    """
    if importlib.util.find_spec("fastokens") is None:
        return None
    from fastokens._native import Tokenizer

    try:
        core = Tokenizer.from_json_str(document)
        core.no_truncation()
        core.no_padding()
    except Exception:  # each kind of document that it does not know has its own
        return None
    tried = Quick(core)
    texts = list(trial(added))
    for special in (False, True):
        theirs = slow.encode_batch_fast(texts, add_special_tokens=special)
        ours = tried.batch(texts, special=special)
        if any(ids is not None and list(ids) != found.ids for ids, found in zip(ours, theirs, strict=True)):
            return None
        if all(ids is None for ids in ours[1:]):
            return None
    return tried


def trial(added: Sequence[str]) -> Iterator[str]:
    """Texts on which tokenizers of different opinion part: about 1,500, and two long ones."""
    yield ""
    pieces = [*_CONTRACTED, *_NUMBERS, *_WORDS, *_MARKS, *_BLANKS, *added[:40]]
    yield from pieces
    for one in pieces:
        for two in ("a", " ", "\n", "1", "'s", "é", "."):
            yield one + two + one
            yield f" {two}{one}"
    for step in (7, 11, 13, 17, 29, 31, 37, 41):  # coprime orders stand for chance
        mixed = [pieces[(step * number) % len(pieces)] for number in range(len(pieces))]
        for start in range(0, len(mixed), 9):
            yield "".join(mixed[start : start + 9])
            yield " ".join(mixed[start : start + 9])
    usual = [piece for piece in pieces if not any(mark in piece for mark in ("\x00", "\x04", "\U00040000"))]
    one = "".join(usual[(37 * number) % len(usual)] + (" " * (number % 4)) for number in range(LONG_CHARS // 5))
    yield one
    yield "It is 1 a.m. and all is quiet;  nobody's there.\n" * (LONG_CHARS // 48)
