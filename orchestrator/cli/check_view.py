"""Row lengths and loss masks as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import plain

if TYPE_CHECKING:
    from rich.console import Console

BAR_COLUMNS = 40


def show_lengths(tokens: dict[str, Any], console: Console) -> None:
    """The counts, the histogram, and what padding costs."""
    about = "" if tokens["counted"] else "about "
    how = f"counted with the tokenizer of {tokens['tokenizer']}" if tokens["counted"] else "estimated from characters"
    console.print(
        f"{about}{tokens['total']:,} tokens an epoch ({how}); a row: mean {tokens['mean']:.0f}, median {tokens['median']}, "
        f"95 % under {tokens['p95']}, longest {tokens['longest']}",
        markup=False,
    )
    most = max((bar["rows"] for bar in tokens["histogram"]), default=1)
    for bar in tokens["histogram"]:
        blocks = "█" * max(1 if bar["rows"] else 0, round(BAR_COLUMNS * bar["rows"] / most))
        console.print(f"{bar['from']:>7}–{bar['to']:<7} {bar['rows']:>9,} {blocks}", markup=False)
    waste = tokens["padding"]
    console.print(
        f"padding: {waste['as_set']:.0%} of a batch as set; rows at random {waste['random']:.0%}, rows of like length together "
        f"(packing: auto) {waste['grouped']:.0%}, several rows in one (not built) {waste['packed']:.0%}",
        markup=False,
    )


def show_masks(masks: list[dict[str, Any]], console: Console, *, classification: bool) -> None:
    """What is learned in green and between marks, what is only read dimmed."""
    from rich.text import Text

    if classification:
        return
    for mask in masks:
        text = Text(f"{mask['place']}: ")
        for piece, learned in mask["pieces"]:
            shown = plain(piece.replace("\n", "⏎"))
            text.append(f"⟦{shown}⟧" if learned else shown, style="bold green" if learned else "dim")
        console.print(text)
    if masks:
        console.print("⟦learned⟧, the rest is only read", markup=False)
