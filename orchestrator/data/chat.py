"""A conversation as the model's own chat template writes it, in a sandbox, and where in it the answers lie.

What the trainer does, without transformers; the two are compared by tests. Must not need ``{% generation %}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.errors import DataProblem

Turns = list[dict[str, str]]


LOOPS = 100_000  # turns of all range() loops in one rendering: a template that needs more is hostile or broken


class ChatTemplate:
    """A compiled template, bounded in time and memory. Raises DataProblem when it cannot be compiled."""

    def __init__(self, source: str, words: Mapping[str, str]) -> None:
        import jinja2
        import jinja2.ext
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        class Generation(jinja2.ext.Extension):
            """The tag that marks an answer, which changes nothing here."""

            tags = {"generation"}  # noqa: RUF012 - jinja2's own name for it

            def parse(self, parser: Any) -> Any:
                next(parser.stream)
                return parser.parse_statements(("name:endgeneration",), drop_needle=True)

        def refuse(message: str) -> None:
            raise jinja2.TemplateError(message)

        def to_json(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
            return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

        class Bounded(ImmutableSandboxedEnvironment):
            """``*`` and ``**`` make nothing that is longer than a conversation may be."""

            intercepted_binops = frozenset({"*", "**"})

            def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
                if operator == "**" or not all(isinstance(one, (int, float)) for one in (left, right)):
                    size = max((abs(one) for one in (left, right) if isinstance(one, (int, float))), default=0)
                    if size > LOOPS:
                        refuse("it repeats something without end")
                return super().call_binop(context, operator, left, right)

        def counted(*bounds: int) -> range:
            found = range(*bounds)
            self._loops += len(found)
            if self._loops > LOOPS:
                refuse("its loops are too long")
            return found

        environment = Bounded(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
        environment.filters["tojson"] = to_json
        environment.globals["raise_exception"] = refuse
        environment.globals["range"] = counted
        self._loops = 0
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise DataProblem(f"the model's chat template cannot be read: {error}") from error
        self._given = {**self._template.globals, **words, "tools": None, "documents": None}

    def render(self, turns: Turns, *, ask: bool = False) -> str:
        """The text of a conversation; with ``ask``, up to where the next answer begins. Raises DataProblem when it is refused."""
        if not turns:
            raise DataProblem("the conversation begins with the assistant's turn, which answers nothing")
        self._loops = 0
        try:
            # what Template.render does, but for a copy of all globals for each row
            context = self._template.new_context({**self._given, "messages": turns, "add_generation_prompt": ask}, shared=True)
            return "".join(self._template.root_render_func(context))
        except Exception as error:  # a template is a program of its author's, and may raise anything on a row it dislikes
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataProblem(f"the chat template refuses this conversation: {said}") from error

    def spans(self, turns: Turns, text: str) -> list[tuple[int, int]]:
        """Where in ``text``, which is the whole conversation, the answers lie, each with its end-of-turn token."""
        return [self._span(turns, number, text) for number, turn in enumerate(turns) if turn["role"] == "assistant"]

    def _span(self, turns: Turns, number: int, text: str) -> tuple[int, int]:
        upto = text if number == len(turns) - 1 else self.render(turns[: number + 1])
        if not text.startswith(upto):  # the template rewrites earlier turns: no loss on this one
            return (0, 0)
        return _shared(self.render(turns[:number], ask=True), upto), len(upto.rstrip("\n"))


def _shared(one: str, two: str) -> int:
    """How many characters two texts begin with in common."""
    if two.startswith(one):
        return len(one)
    low, high = 0, min(len(one), len(two))  # the first ``low`` are the same, and not all of the first ``high + 1``
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == two[low:middle] else (low, middle - 1)
    return low
