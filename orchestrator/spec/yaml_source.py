"""YAML text to a flat list of settings, each with its place. Knows nothing about which keys exist.

YAML 1.1 surprises are removed: ``2e-4`` is a number, ``2026-11-24`` is text, a key given twice is a problem.
Bounded: size, depth and number of nodes, so that a hostile file cannot grow in memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.errors import Diagnostic

MAX_BYTES = 1_000_000
MAX_DEPTH = 12
MAX_NODES = 20_000


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One value at one place. ``key`` is the path of mapping keys from the top."""

    key: tuple[str, ...]
    value: Any
    source: str
    line: int
    column: int

    def diagnostic(self, message: str, hint: str | None = None) -> Diagnostic:
        return Diagnostic(source=self.source, line=self.line, column=self.column, message=message, hint=hint)


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 numbers and without timestamps."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"),
    list("-+0123456789."),
)


class YamlProblem(ValueError):
    """The text is not usable YAML; holds the one diagnostic."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(str(diagnostic))
        self.diagnostic = diagnostic


def read_settings(text: bytes, source: str, sections: frozenset[str]) -> tuple[list[Setting], list[Diagnostic]]:
    """Flatten a YAML mapping. Mappings under the names in ``sections`` are opened one level; other values stay whole.

    Returns the settings in file order and the problems found. Raises YamlProblem when nothing can be read at all.
    """
    root, loader = _compose(text, source)
    if root is None:
        raise YamlProblem(Diagnostic(source=source, line=0, column=0, message="the file is empty"))
    if not isinstance(root, yaml.MappingNode):
        raise _at(source, root.start_mark, "expected 'key: value' lines")
    _check_bounds(root, source)
    settings: list[Setting] = []
    problems: list[Diagnostic] = []
    _flatten(root, (), source, sections, loader, settings, problems)
    return settings, problems


def _compose(text: bytes, source: str) -> tuple[yaml.Node | None, _Loader]:
    if len(text) > MAX_BYTES:
        raise YamlProblem(Diagnostic(source=source, line=0, column=0, message=f"larger than {MAX_BYTES} bytes: not a job file"))
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise YamlProblem(Diagnostic(source=source, line=line, column=1, message="not UTF-8 text")) from error
    try:
        loader = _Loader(decoded)
        return loader.get_single_node(), loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _at(source, mark, f"YAML does not parse: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise YamlProblem(Diagnostic(source=source, line=0, column=0, message=f"YAML does not parse: {error}")) from error
    except RecursionError as error:
        raise YamlProblem(Diagnostic(source=source, line=0, column=0, message="nested too deeply")) from error


def _at(source: str, mark: yaml.Mark | None, message: str) -> YamlProblem:
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return YamlProblem(Diagnostic(source=source, line=line, column=column, message=message))


def _check_bounds(root: yaml.Node, source: str) -> None:
    """Walk as the values will be built, aliases expanded, and stop at the bounds."""
    pending: list[tuple[yaml.Node, int]] = [(root, 1)]
    seen = 0
    while pending:
        node, depth = pending.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_NODES:
            raise _at(source, node.start_mark, "nested too deeply" if depth > MAX_DEPTH else "too many values")
        if isinstance(node, yaml.MappingNode):
            pending.extend((child, depth + 1) for pair in node.value for child in pair)
        elif isinstance(node, yaml.SequenceNode):
            pending.extend((child, depth + 1) for child in node.value)


def _flatten(
    mapping: yaml.MappingNode,
    prefix: tuple[str, ...],
    source: str,
    sections: frozenset[str],
    loader: _Loader,
    settings: list[Setting],
    problems: list[Diagnostic],
) -> None:
    given: dict[str, int] = {}
    for key_node, value_node in mapping.value:
        line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(Diagnostic(source=source, line=line, column=column, message="a key must be plain text"))
            continue
        name = str(key_node.value)
        if name in given:
            message = f"{'.'.join((*prefix, name))} is given twice, first in line {given[name]}"
            problems.append(Diagnostic(source=source, line=line, column=column, message=message))
            continue
        given[name] = line
        if not prefix and name in sections and isinstance(value_node, yaml.MappingNode):
            _flatten(value_node, (name,), source, sections, loader, settings, problems)
            continue
        try:
            value = _plain(loader.construct_object(value_node, deep=True))
        except (yaml.YAMLError, ValueError) as error:
            problem = getattr(error, "problem", None) or error
            problems.append(Diagnostic(source=source, line=line, column=column, message=f"{name}: {problem}"))
            continue
        settings.append(Setting(key=(*prefix, name), value=value, source=source, line=line, column=column))


def _plain(value: Any) -> Any:
    """Mapping keys become text, so that ``{0: negative}`` and ``{"0": negative}`` are the same."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
