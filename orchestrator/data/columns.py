"""Which column holds the label, which the text, by the names people give them; only when that is unambiguous. Pure."""

from __future__ import annotations

_LABELS = ("label", "sentiment", "labels", "category", "class", "target", "polarity", "intent", "emotion", "airline_sentiment", "winner")
_TEXTS: tuple[str, ...] = (
    "text",
    "sentence",
    "review",
    "review_text",
    "content",
    "comment",
    "comment_text",
    "headline",
    "news",
    "news headline",
)
_TEXTS += ("tweet", "body", "title", "utterance", "message", "document", "clean_text", "statement")


def label_column(columns: list[str]) -> str | None:
    """The one column named as labels are; None when there is none, or several."""
    return _only(columns, _LABELS)


def text_column(columns: list[str]) -> str | None:
    """The one column named as texts are; ``text`` itself before all others."""
    return "text" if "text" in columns else _only(columns, _TEXTS)


def _only(columns: list[str], names: tuple[str, ...]) -> str | None:
    found = [column for column in columns if column.strip().lower().replace("-", "_") in names]
    return found[0] if len(found) == 1 else None
