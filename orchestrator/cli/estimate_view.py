"""The memory estimate for a person: one bar by component against the card, and the sentence they need.

No arithmetic of its own; ``rich`` is imported when something is drawn, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.estimate.document import notes, on_card
from orchestrator.estimate.gpus import Gpu, verdict
from orchestrator.estimate.ladder import Rung, fit, ladder
from orchestrator.estimate.memory import COMPONENTS, CONTEXT_BYTES, GIB, MemoryEstimate, estimate_memory
from orchestrator.estimate.workload import Workload

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_COLOURS = {
    "weights": "blue", "quant_constants": "cyan", "unquantized": "bright_blue", "lora": "magenta", "gradients": "bright_magenta",
    "optimizer": "yellow", "activations": "green", "logits": "bright_green", "workspace": "white", "cuda_context": "bright_black",
    "fragmentation": "red",
}  # fmt: skip
_LABELS = {"quant_constants": "quantization constants", "unquantized": "unquantized weights", "cuda_context": "CUDA context",
           "fragmentation": "held unused by the allocator"}  # fmt: skip
_WORDS = {"fits": "fits", "tight": "is tight", "oom": "runs out of memory"}


def _label(component: str) -> str:
    return _LABELS.get(component, component)


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _article(name: str) -> str:
    return (
        f"an {name}"
        if (name[0].upper() in "AEFHILMNORSX" and not name.startswith(("RTX", "Radeon"))) or name.startswith("RTX")
        else f"a {name}"
    )


def sentence(w: Workload, gpu: Gpu) -> str:
    """What it means on this card and what to do, in a sentence or two."""
    here = on_card(w, gpu)
    estimate = estimate_memory(here)
    said = verdict(estimate, gpu)
    where = f"On {_article(gpu.name)} this"
    if said == "fits":
        return f"{where} fits, with {_gib(gpu.usable_bytes - estimate.expected)} to spare."
    if said == "oom":
        opening = f"{where} runs out of memory by {_gib(estimate.expected - gpu.usable_bytes)}"
    else:
        opening = f"{where} is tight: {_gib(estimate.expected)} expected of {_gib(gpu.usable_bytes)}, {_gib(estimate.high)} at worst"
    found = fit(here, gpu)
    if not found.fits:
        return f"{opening}; no change known here makes it fit: choose a larger card or a smaller model."
    last = {change.key: change for change in found.changes}  # of a batch halved thrice only the third is of interest
    steps = ", then ".join(change.text for change in last.values())
    spare = _gib(gpu.usable_bytes - found.estimate.expected)
    learned = " (this changes what is learned)" if any(c.quality == "changes" for c in found.changes) else ""
    return f"{opening}; with {steps} it fits with {spare} to spare{learned}."


def bar(estimate: MemoryEstimate, gpu: Gpu, width: int = 60) -> RenderableType:
    """One line: components side by side, the card's end marked; what is beyond the card is drawn in reverse."""
    from rich.text import Text

    scale = max(gpu.usable_bytes, estimate.expected)
    end = round(width * gpu.usable_bytes / scale)
    text, drawn, reached = Text(), 0, 0.0
    for name in COMPONENTS:
        reached += estimate.components[name]
        target = round(width * reached / scale)
        for column in range(drawn, target):
            text.append("█" if column < end else "▒", style=_COLOURS[name] if column < end else "bold red")
        drawn = max(drawn, target)
    text.append("·" * max(0, end - drawn), style="bright_black")
    text.append(f"▏{gpu.usable_gib:.1f} GiB {gpu.name}")
    return text


def components_table(estimate: MemoryEstimate) -> RenderableType:
    """Components with their colour, largest first; those of nothing are left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for name in sorted(COMPONENTS, key=lambda n: -estimate.components[n]):
        if estimate.components[name] >= 0.005 * GIB:
            table.add_row(Text("█", style=_COLOURS[name]), _label(name), f"{estimate.components[name] / GIB:7.2f} GiB")
    table.add_row("", "expected peak", f"{estimate.expected / GIB:7.2f} GiB")
    table.add_row("", "between", f"{estimate.low / GIB:.2f} and {estimate.high / GIB:.2f} GiB")
    return table


def ladder_table(rungs: tuple[Rung, ...], gpu: Gpu) -> RenderableType:
    """What each change saves by itself, costs in speed, and whether it changes what is learned."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("change", "saves", "then", f"on {gpu.name}", "speed", "what is learned"):
        table.add_column(heading, justify="left" if heading in ("change", "what is learned") else "right")
    for rung in rungs:
        speed = "" if rung.speed is None else f"{(rung.speed - 1) * 100:+.0f} %"
        table.add_row(Text(rung.change.text), _gib(rung.saved), _gib(rung.estimate.expected), rung.verdict or "", speed,
                      "the same" if rung.change.quality == "none" else "changes")  # fmt: skip
    return table


def trace_lines(document: dict[str, Any]) -> list[str]:
    """What a trace found, for a person: allocated memory only, which is not yet what a card needs."""
    parts = {"weights and adapters": "resident_bytes", "gradients": "gradient_bytes", "optimizer": "optimizer_bytes"}
    lines = [f"traced peak  {document['peak_bytes'] / GIB:.2f} GiB allocated, in the moment {document['moment']!r}"]
    lines += [f"  {name:20s} {document[key] / GIB:7.2f} GiB" for name, key in parts.items()]
    return [*lines, f"A card needs about {CONTEXT_BYTES / GIB:.2f} GiB more for CUDA, and what the allocator holds unused."]


def show(w: Workload, gpu: Gpu, console: Console) -> None:
    """Everything above for one card."""
    here = on_card(w, gpu)
    estimate = estimate_memory(here)
    console.print(bar(estimate, gpu, width=min(60, max(20, console.width - 24))))
    console.print(components_table(estimate))
    console.print(sentence(w, gpu), soft_wrap=True, markup=False, highlight=False)
    for note in notes(here):
        console.print(f"Note: {note}.", soft_wrap=True, markup=False, highlight=False)
    rungs = ladder(here, gpu)
    if rungs and verdict(estimate, gpu) != "fits":
        console.print()
        console.print(ladder_table(rungs, gpu))
