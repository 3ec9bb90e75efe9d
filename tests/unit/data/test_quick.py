"""What the quick tokenizer counts is what the model's own tokenizer counts, or it is not used."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.backends import examine as examining
from orchestrator.backends.vocabulary import find_tokenizer
from orchestrator.data import tokenizer as tokenizing
from orchestrator.data.quick import LONG_CHARS, Quick, quick
from orchestrator.data.tokenizer import Disagreement, Encoder, TokenizerFiles
from orchestrator.spec.parse import load_job

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("fastokens")

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _split(pattern: str) -> dict[str, Any]:
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, level]}


def _level(*, prefix: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": True}


DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _level(prefix=False)]}
KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {"pre_tokenizer": _level(prefix=False)},
    "prefixed": {"pre_tokenizer": _level(prefix=True)},
    "smollm": {"pre_tokenizer": DIGITS},
    "llama3": {"pre_tokenizer": _split(LLAMA3), "ignore_merges": True, "begins": True},
    "qwen": {"pre_tokenizer": _split(LLAMA3.replace("{1,3}", "")), "normalizer": {"type": "NFC"}},
    "o200k": {"pre_tokenizer": _split(O200K)},
}


@cache
def _document() -> str:
    """SmolLM2's own tokenizer.json; where its package is not installed, a small one trained here."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        Path(place, "cloudtune.yaml").write_text("model: HuggingFaceTB/SmolLM2-135M-Instruct\ndataset: d.jsonl\n")
        job = load_job(Path(place, "cloudtune.yaml"), environment={})
    found = find_tokenizer(job, offline=True)
    if isinstance(found, TokenizerFiles):
        return found.tokenizer
    core = tokenizers.Tokenizer(tokenizers.models.BPE())
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, special_tokens=["<|im_start|>", "<|im_end|>"])
    core.train_from_iterator([path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))], trainer)
    return str(core.to_str())


@cache
def _pair(kind: str) -> tuple[Any, Quick]:
    """``tokenizers`` and ``fastokens`` on one tokenizer of that kind, which they agree on in the trial."""
    document, how = json.loads(_document()), KINDS[kind]
    document["pre_tokenizer"], document["normalizer"] = how["pre_tokenizer"], how.get("normalizer")
    document["model"]["ignore_merges"] = how.get("ignore_merges", False)
    if how.get("begins"):
        word, number = document["added_tokens"][1]["content"], document["added_tokens"][1]["id"]
        piece = {"SpecialToken": {"id": word, "type_id": 0}}
        document["post_processor"] = {
            "type": "TemplateProcessing", "single": [piece, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [piece, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {word: {"id": word, "ids": [number], "tokens": [word]}},
        }  # fmt: skip
    text = json.dumps(document)
    slow = tokenizers.Tokenizer.from_str(text)
    found = quick(text, slow, [token.content for token in slow.get_added_tokens_decoder().values()])
    assert found is not None, kind
    return slow, found


PIECES = ["'s", "'T", "'ll", " ", "  ", "\n", "\r\n", "\t", "\n\n ", "word", "don't", "Ab", "ſ", "İ", "12345", "٣", "½", "é", "e\u0301", "日本", "한국어",
          "اللغة", "हिन्दी", "🙂", "👩‍👩‍👧", "\u00a0", "\u2003", "\u3000", "\x85", "\x0b", "\x1c", "\x00", "\x04", "\u200b", "{", "():", "!!!", "<|im_end|>", "<|im_start|>",
          "\U0001d400", "\U00040000", "a" * 50, " " * 40, "\n" * 30]  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=200),
    st.text(alphabet=st.characters(max_codepoint=127), max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=12), kind=st.sampled_from(sorted(KINDS)), special=st.booleans())
def test_the_same_tokens(texts: list[str], kind: str, special: bool) -> None:
    slow, fast = _pair(kind)
    found = fast.batch(texts, special=special)
    assert len(found) == len(texts)
    for text, ids in zip(texts, found, strict=True):
        assert ids is None or list(ids) == slow.encode(text, add_special_tokens=special).ids, (kind, text)


@settings(max_examples=15, deadline=None)
@given(
    pieces=st.lists(st.sampled_from([p for p in PIECES if p not in "\x00\x04\U00040000"]), min_size=3, max_size=40),
    kind=st.sampled_from(sorted(KINDS)),
)
def test_long_texts_that_are_split_between_threads(pieces: list[str], kind: str) -> None:
    slow, fast = _pair(kind)
    text = "".join(pieces) * (LONG_CHARS // len("".join(pieces)) + 1)
    (ids,) = fast.batch([text], special=False)
    assert ids is not None and list(ids) == slow.encode(text, add_special_tokens=False).ids


def test_few_plain_texts_are_refused() -> None:
    for kind in KINDS:
        assert None not in _pair(kind)[1].batch(["It's 7 a.m.; naïve, 日本語, 🙂\n"] * 3, special=True), kind


def _files() -> TokenizerFiles:
    return TokenizerFiles(tokenizer=_document(), config={"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}, source="a test")


def test_the_encoder_gives_the_same_either_way() -> None:
    slow, fast = Encoder(_files()), Encoder(_files(), hurry=True)
    assert fast.hurries and not slow.hurries
    texts = ["", "plain", "\x04 what a vocabulary may lack", "🙂 \U00040000", "<|im_start|>user\nhi<|im_end|>"] * 7
    for special in (False, True):
        assert [list(ids) for ids in fast.batch(texts, special=special)] == [list(ids) for ids in slow.batch(texts, special=special)]
    assert fast.batch([], special=False) == []


def test_other_tokenizers_are_not_hurried() -> None:
    """Words of a list, and a byte-level one whose quick tokens differ: both go the slow way."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    assert not Encoder(TokenizerFiles(tokenizer=words.to_str()), hurry=True).hurries
    slow = tokenizers.Tokenizer.from_str(json.dumps(json.loads(_document()) | {"pre_tokenizer": DIGITS}))
    assert quick(json.dumps(json.loads(_document()) | {"pre_tokenizer": _split(LLAMA3)}), slow, []) is None


def test_a_disagreement_among_the_rows_is_found_and_all_is_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick tokenizer of another model, smuggled past the trial."""
    other = json.loads(_document()) | {"pre_tokenizer": _split(LLAMA3)}
    core = tokenizers.Tokenizer.from_str(json.dumps(other))
    wrong = quick(json.dumps(other), core, [])
    monkeypatch.setattr(tokenizing, "quick", lambda *given: wrong)
    files = replace(_files(), tokenizer=json.dumps(json.loads(_document()) | {"pre_tokenizer": DIGITS}))
    with pytest.raises(Disagreement):
        Encoder(files, hurry=True).batch(["WE'LL GO!!\n\n  x"], special=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(examining, "find_tokenizer", lambda job, offline: files)
    rows = [{"prompt": f"{number} WE'LL GO!!\n\n  x", "completion": f"{number}99999"} for number in range(40)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "cloudtune.yaml").write_text("model: m\ndataset: d.jsonl\n")
    said: list[str] = []
    read: list[int] = []
    job = load_job(tmp_path / "cloudtune.yaml", environment={})
    report = examining.examine(job, offline=True, on_bytes=read.append, again=lambda: said.append("again"))
    own = Encoder(files)
    expected = sum(len(own.ids(row["prompt"], special=True)) + len(own.ids(row["completion"], special=False)) + 1 for row in rows)
    assert report.train.total == expected and said == ["again"] and any("counted again" in note for note in report.notes)
    assert sum(read) == (tmp_path / "d.jsonl").stat().st_size
