"""A run as it happens: a live bar in a terminal, plain lines elsewhere. On stderr; must not decide anything."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from orchestrator.cli import output
from orchestrator.ledger.journal import RunRecord
from orchestrator.run import events as ev
from orchestrator.run.ports import News
from orchestrator.run.state import Phase, RunState
from trainer.contract import Kind

PLAIN_EVERY_S = 10.0
SAMPLE_CHARS = 160
_PHASE_WORDS = {
    "preparing": "looking at the machine",
    "installing": "installing packages on the machine",
    "downloading": "downloading the model to the machine",
    "loading": "loading the model",
    "evaluating_before": "scoring the untrained model",
    "training": "training",
    "evaluating_after": "scoring the trained model",
    "saving": "saving the adapter",
}


class RunView:
    """Use as a context; feed it events and news."""

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._console = output.messages()
        self._live = self._console.is_terminal and not output.quiet()
        self._progress: Any = None
        self._task: Any = None
        self._phase = ""
        self._plain_at = 0.0
        self._sent = self._to_send = 0  # bytes of the upload
        self._steps: tuple[float, int] | None = None  # time and step when this attempt's training was first seen

    def __enter__(self) -> RunView:
        if self._live:
            from rich.progress import BarColumn, Progress, TextColumn

            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                TextColumn("{task.fields[news]}", markup=False),
                console=self._console,
            )
            self._progress.start()
            self._task = self._progress.add_task(f"run {self._record.run}", total=None, news="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def resume(self, state: RunState) -> None:
        """Show where a run stands, when it is first or again looked at."""
        self._show(state)

    def on_event(self, state: RunState, event: ev.AnyEvent) -> None:
        """One more event has happened; ``state`` is the state after it."""
        if isinstance(event, ev.Failed):
            self._say(f"{event.action} did not succeed: {event.detail}; trying again")
        elif isinstance(event, ev.Created) and not state.offers[state.attempts[event.attempt - 1].offer].free:
            self._say(f"rented {state.offers[state.attempts[event.attempt - 1].offer].title()}")
        elif isinstance(event, ev.CreateFailed):
            self._say(f"{event.reason.value}: {event.detail}")
        elif isinstance(event, ev.Concluded) and isinstance(event.command, ev.Doom):
            self._say(f"attempt {event.command.attempt} ends: {event.command.reason.value}")
        elif isinstance(event, ev.CheckpointHome):
            self._say(f"checkpoint of step {event.step} is safe at home")
        elif isinstance(event, ev.JobLost):
            self._say("the trainer died; starting it again from its last checkpoint")
        self._show(state)

    def on_bytes(self, sent: int, total: int) -> None:
        """Bytes have gone to the box, compressed; ``total``: what they were before. ``sent`` counts since the last call."""
        self._sent = 0 if total != self._to_send else self._sent
        self._to_send = total
        self._sent += sent
        if self._progress is not None:
            news = f"{self._sent / 1e6:.1f} MB sent of at most {total / 1e6:.1f}"
            self._progress.update(self._task, completed=min(self._sent, total), total=total, news=news)

    def on_news(self, attempt: int, news: News) -> None:
        """Lines from the box that a person should read at once."""
        for line in news.lines:
            kind = line.get("kind")
            if kind == Kind.NOTICE:
                self._say(f"note: {line.get('text', '')}")
            elif kind == Kind.RUNG:
                self._say(f"out of memory: {line.get('change', '')}")
            elif kind == Kind.EVALUATION:
                self._say(_score(line))
            elif kind == Kind.SAMPLE:
                self._say(f"sample {line.get('when')} training: {_short(line.get('prompt'))} -> {_short(line.get('text'))}")
            elif kind == Kind.RESUMED:
                self._say(f"training goes on after step {line.get('step')}")

    def _say(self, text: str) -> None:
        if text:
            self._console.print(text, markup=False)

    def _show(self, state: RunState) -> None:
        words = phase_words(state)
        now = time.time()
        if self._progress is not None:
            done, total = _amount(state)
            cost = f"${state.total_usd(now):.2f}"
            news = " · ".join(part for part in (*_figures(state, self._left(state, now)), cost) if part)
            self._progress.update(self._task, description=words, completed=done, total=total or None, news=news)
            return
        if words != self._phase or (now - self._plain_at >= PLAIN_EVERY_S and state.phase is Phase.TRAINING):
            figures = _figures(state, self._left(state, now))
            done, total = _amount(state)
            amount = f"{done}/{total}" if total and "scoring" in words else ""
            self._say("  ".join(part for part in (words, amount, *figures) if part))
            self._plain_at = now
        self._phase = words

    def _left(self, state: RunState, now: float) -> str:
        """Time left of the training itself, by the pace since it was first seen."""
        attempt = state.attempt
        if attempt is None or not attempt.step or attempt.latest.get("phase") != "training":
            return ""
        if self._steps is None or attempt.step < self._steps[1]:
            self._steps = (now, attempt.step)
        done = attempt.step - self._steps[1]
        if not done:
            return ""
        left_s = (now - self._steps[0]) / done * (attempt.total_steps - attempt.step)
        return f"{left_s / 60:.0f} min left" if left_s >= 90 else f"{left_s:.0f} s left"


def phase_words(state: RunState) -> str:
    """Where a run stands, in words."""
    attempt = state.attempt
    if state.phase is Phase.SETTLED and state.outcome is not None:
        return state.outcome.value
    if state.phase is Phase.TRAINING and attempt is not None:
        return _PHASE_WORDS.get(str(attempt.latest.get("phase", "")), "starting the trainer")
    words = {
        Phase.PLANNED: "planned",
        Phase.PROVISIONING: "getting a machine",
        Phase.SYNCING: "sending code and data",
        Phase.PULLING: "bringing the adapter home",
        Phase.TEARING_DOWN: "tearing down",
    }
    return words.get(state.phase, state.phase.value)


def _amount(state: RunState) -> tuple[int, int]:
    attempt = state.attempt
    if attempt is None:
        return 0, 0
    if str(attempt.latest.get("phase", "")).startswith("evaluating"):
        return int(attempt.latest.get("evaluated") or 0), int(attempt.latest.get("to_evaluate") or 0)
    return attempt.step, attempt.total_steps


def _figures(state: RunState, left: str) -> tuple[str, ...]:
    attempt = state.attempt
    if attempt is None or state.phase is not Phase.TRAINING or attempt.latest.get("phase") != "training":
        return ()
    step = f"step {attempt.step}/{attempt.total_steps}" if attempt.total_steps else ""
    loss, speed = attempt.latest.get("loss"), attempt.latest.get("tokens_per_s")
    return (
        step,
        f"loss {loss:.3f}" if isinstance(loss, float) else "",
        f"{speed:.0f} tokens/s" if isinstance(speed, (int, float)) else "",
        left,
    )


def _score(line: dict[str, Any]) -> str:
    value = line.get("value")
    if not isinstance(value, (int, float)):
        return ""
    shown = f"{value:.1%}" if line.get("metric") == "accuracy" else f"{value:.3f}"
    return f"{line.get('metric')} {line.get('when')} training: {shown} on {line.get('rows')} held-out rows"


def _short(text: object) -> str:
    """A prompt or an answer on one line, its end kept."""
    line = " ".join(str(text).split())
    return line if len(line) <= SAMPLE_CHARS else "…" + line[-SAMPLE_CHARS:]
