"""A chat template is a program of whoever made the model: it may not hang the laptop or fill its memory."""

from __future__ import annotations

import time

import pytest

from orchestrator.data.chat import ChatTemplate
from orchestrator.errors import DataProblem

TURNS = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(999999999) %}{% endfor %}",
        "{{ 'x' * 9999999999 }}",
        "{{ 9999999999 * 'x' }}",
        "{{ [1] * 9999999999 }}",
        "{{ 9 ** 999999999 }}",
    ],
)
def test_a_hostile_template_is_refused_at_once(source: str) -> None:
    began = time.process_time()
    with pytest.raises(DataProblem, match="refuses this conversation"):
        ChatTemplate(source, {}).render(TURNS)
    assert time.process_time() - began < 2.0


def test_an_ordinary_loop_counts_anew_for_each_conversation() -> None:
    template = ChatTemplate("{% for i in range(messages | length) %}{{ messages[i].content ~ ' ' * 2 ~ 3 * 4 }}{% endfor %}", {})
    assert {template.render(TURNS) for _ in range(60_000)} == {"hello  12hi  12"}
