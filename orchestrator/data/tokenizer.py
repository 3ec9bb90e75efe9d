"""The model's own tokenizer, from its files: tokens as the trainer will see them, without torch and transformers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.data.chat import ChatTemplate
from orchestrator.data.quick import Ids, quick
from orchestrator.errors import DataProblem

LOOKED_AT = 1  # text of every batch that both tokenizers encode, when the quick one is used
_WORDS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """What a model folder says about its tokenizer."""

    tokenizer: str  # tokenizer.json
    config: Mapping[str, Any] = field(default_factory=dict)  # tokenizer_config.json
    template: str | None = None
    ends: tuple[int, ...] = ()  # generation stops at any of these, and at the tokenizer's own end
    source: str = ""  # where it came from, for a person

    @property
    def digest(self) -> str:
        """The same for the same tokenizer and template, wherever they came from."""
        parts = [self.tokenizer, json.dumps(self.config, sort_keys=True), self.template or "", str(self.ends)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Disagreement(Exception):
    """The quick tokenizer gave other tokens than the model's own: nothing that it counted can be believed."""


class Encoder:
    """A loaded tokenizer; what it puts around a text is tokenizer.json's own word. Raises DataProblem when its files cannot be used.

    ``hurry``: many texts will be encoded: use the quick tokenizer where it agrees with the model's own (the trial takes 0.3 s).
    """

    def __init__(self, files: TokenizerFiles, *, hurry: bool = False) -> None:
        from tokenizers import Tokenizer

        try:
            self._core = Tokenizer.from_str(files.tokenizer)
        except Exception as error:  # the library raises plain Exception for every kind of damage
            raise DataProblem(f"the model's tokenizer.json cannot be used: {str(error)[:200]}", hint="download the model again") from error
        self._core.no_truncation()
        self._core.no_padding()
        words = {name: word for name in _WORDS if (word := word_of(files.config.get(name))) is not None}
        self.bos, self.eos = words.get("bos_token"), words.get("eos_token")
        self.bos_id, self.eos_id = self._id(self.bos), self._id(self.eos)
        self.ends = {number for number in (self.eos_id, *files.ends) if number is not None}
        added = self._core.get_added_tokens_decoder().items()
        self._added = {number: token.content for number, token in added if token.content != words.get("unk_token")}
        self.closes = self.eos_id is not None and self._core.encode("a").ids[-1:] == [self.eos_id]  # it ends every text itself
        self.template = ChatTemplate(files.template, words) if files.template else None
        self._quick = quick(files.tokenizer, self._core, list(self._added.values())) if hurry else None
        self._turn = 0

    def _id(self, word: str | None) -> int | None:
        return None if word is None else self._core.token_to_id(word)

    @property
    def hurries(self) -> bool:
        """Whether the quick tokenizer is used."""
        return self._quick is not None

    def batch(self, texts: Sequence[str], *, special: bool) -> list[Ids]:
        """The tokens of many texts. Raises Disagreement when the quick tokenizer is found to be wrong."""
        texts = list(texts)
        if self._quick is None:
            return self._slowly(texts, special=special)
        found = self._quick.batch(texts, special=special)
        self._turn += 1
        looked = [(self._turn * 7919 + number * 104_729) % len(texts) for number in range(LOOKED_AT)] if texts else []
        for place, ids in zip(looked, self._slowly([texts[place] for place in looked], special=special), strict=True):
            quickly = found[place]
            if quickly is not None and list(quickly) != list(ids):
                raise Disagreement
        refused = [place for place, ids in enumerate(found) if ids is None]
        for place, ids in zip(refused, self._slowly([texts[place] for place in refused], special=special), strict=True):
            found[place] = ids
        return [ids for ids in found if ids is not None]

    def _slowly(self, texts: list[str], *, special: bool) -> list[Ids]:
        return [found.ids for found in self._core.encode_batch_fast(texts, add_special_tokens=special)]

    def with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens and where in the text each lies; nothing is added."""
        found = self._core.encode(text, add_special_tokens=False)
        return found.ids, found.offsets

    def ids(self, text: str, *, special: bool) -> list[int]:
        """The tokens of one text."""
        return list(self._core.encode(text, add_special_tokens=special).ids)

    def text(self, number: int) -> str:
        """One token as a person reads it."""
        return self._added.get(number) or str(self._core.decode([number], skip_special_tokens=False))

    def texts(self, numbers: Sequence[int]) -> str:
        """Tokens as a person reads them, marks included."""
        return str(self._core.decode(list(numbers), skip_special_tokens=False))

    def added(self, text: str) -> str | None:
        """The first token of a text that is a mark and not a piece of language; None when it has none."""
        return next((self._added[number] for number in self.ids(text, special=False) if number in self._added), None)


def word_of(value: Any) -> str | None:
    """A special token, which older files write as an object."""
    found = value.get("content") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) and found else None


def template_of(value: Any) -> str | None:
    """The chat template of a tokenizer_config.json: a text, or several of which one is called default."""
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, Mapping)}
        value = named.get("default")
    return value if isinstance(value, str) and value else None


def files_of_gguf(header: Mapping[str, Any], source: str) -> TokenizerFiles:
    """The tokenizer inside a GGUF file's header. Raises DataProblem when it is not of the byte-level kind."""
    if header.get("tokenizer.ggml.model") != "gpt2":
        raise DataProblem(f"{source}: its tokenizer is not byte-level BPE, and is not read yet")
    tokens, kinds = header["tokenizer.ggml.tokens"], header.get("tokenizer.ggml.token_type", [])
    added = [
        {
            "id": number,
            "content": tokens[number],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, kind in enumerate(kinds)
        if kind == 3  # 3: a control token
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
        "byte_fallback": False, "ignore_merges": False, "vocab": {word: number for number, word in enumerate(tokens)},
        "merges": [pair.split(" ", 1) for pair in header["tokenizer.ggml.merges"]],
    }  # fmt: skip
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": level,
                "post_processor": level, "decoder": level, "model": model}  # fmt: skip
    config: dict[str, Any] = {}
    for ours, theirs in (("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"), ("unk_token", "unknown")):
        number = header.get(f"tokenizer.ggml.{theirs}_token_id")
        if isinstance(number, int) and number < len(tokens):
            config[ours] = tokens[number]
    return TokenizerFiles(
        tokenizer=json.dumps(document), config=config, template=template_of(header.get("tokenizer.chat_template")), source=source
    )
