"""Settings from every layer to one frozen JobSpec, or every problem at once.

Layers, the strongest first: flags, environment, job file, user config, defaults. Reads the files it is given and
nothing else; whether paths exist or models can be had is not decided here.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import Diagnostic, SpecProblems, UsageProblem
from orchestrator.spec.aliases import translate
from orchestrator.spec.jobspec import Job, JobSpec
from orchestrator.spec.yaml_source import Setting, YamlProblem, read_settings

Key = tuple[str, ...]
ENVIRONMENT_PREFIX = "CLOUDTUNE_"
# short environment names, the same as the flags'
_SHORT_ENVIRONMENT: dict[str, Key] = {
    "BUDGET": ("limits", "budget_usd"),
    "DEADLINE": ("limits", "deadline"),
    "INFRA": ("resources", "infra"),
    "GPUS": ("resources", "gpus"),
    "USE_SPOT": ("resources", "use_spot"),
    "MODEL": ("model",),
}
MIN_DEADLINE_S, MAX_DEADLINE_S = 60.0, 366 * 86_400.0
JOB_FILE_NAMES = ("cloudtune.yaml", "cloudtune.yml")


def _fields() -> dict[Key, dataclasses.Field[Any]]:
    """Every key of the job file with its field, sections opened."""
    found: dict[Key, dataclasses.Field[Any]] = {}
    hints = typing.get_type_hints(JobSpec)
    for outer in dataclasses.fields(JobSpec):
        kind = hints[outer.name]
        if dataclasses.is_dataclass(kind):
            for inner in dataclasses.fields(kind):
                found[(outer.name, inner.name)] = inner
        else:
            found[(outer.name,)] = outer
    return found


FIELDS = _fields()
SECTIONS = frozenset(key[0] for key in FIELDS if len(key) == 2)
_KNOWN = frozenset(FIELDS)
_COUNTS: dict[str, list[Key]] = {}
for _key in FIELDS:
    _COUNTS.setdefault(_key[-1], []).append(_key)
_FLAT: dict[str, Key] = {name: keys[0] for name, keys in _COUNTS.items() if len(keys) == 1}


def find_job_file(given: Path | None) -> Path:
    """The job file meant by JOB: a file, a folder that holds one, or the current folder. Raises UsageProblem."""
    place = given if given is not None else Path()
    if place.is_file():
        return place
    for name in JOB_FILE_NAMES:
        if (place / name).is_file():
            return place / name
    what = f"no {JOB_FILE_NAMES[0]} in {place.resolve()}" if place.is_dir() or given is None else f"{place} does not exist"
    raise UsageProblem(what, hint="cloudtune init sentiment my-job, then cd my-job")


def load_job(
    path: Path,
    *,
    flags: Mapping[Key, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    user_config: Path | None = None,
) -> Job:
    """Read and merge all layers. Raises SpecProblems with every problem found, in the order of the layers."""
    layers = [
        _flag_layer(flags or {}),
        _environment_layer(environment if environment is not None else os.environ),
        _file_layer(path),
        _file_layer(user_config) if user_config is not None and user_config.is_file() else ([], []),
    ]
    problems = [problem for _, found in layers for problem in found]
    merged: dict[Key, Setting] = {}
    for settings, _ in layers:
        known, unknown = _known_settings(settings)
        problems += unknown
        for key, setting in known.items():
            merged.setdefault(key, setting)
    spec = _build(merged, problems, path)
    if spec is not None:
        problems += _rules(spec, merged, path)
    if problems or spec is None:
        raise SpecProblems(problems, hint=f"edit {path}; cloudtune schema prints every key")
    origins = {".".join(key): _origin(setting) for key, setting in merged.items()}
    return Job(spec=spec, folder=str(path.resolve().parent), source=str(path), origins=origins)


def _origin(setting: Setting) -> str:
    return f"{setting.source}:{setting.line}" if setting.line else setting.source


def _flag_layer(flags: Mapping[Key, Any]) -> tuple[list[Setting], list[Diagnostic]]:
    return [Setting(key=k, value=v, source="flag", line=0, column=0) for k, v in flags.items() if v is not None], []


def _environment_layer(environment: Mapping[str, str]) -> tuple[list[Setting], list[Diagnostic]]:
    """CLOUDTUNE_BUDGET=5 and CLOUDTUNE_TRAINING__LEARNING_RATE=1e-4; values are read as YAML scalars."""
    settings = []
    for name, text in sorted(environment.items()):
        tail = name.removeprefix(ENVIRONMENT_PREFIX)
        if tail == name:
            continue
        key = _SHORT_ENVIRONMENT.get(tail) or tuple(part.lower() for part in tail.split("__"))
        if key not in _KNOWN:
            continue  # other CLOUDTUNE_ variables steer the program, not the job
        parsed, _ = read_settings(f"value: {text}".encode(), name, frozenset())
        value = parsed[0].value if parsed else text
        settings.append(Setting(key=key, value=value, source=f"environment {name}", line=0, column=0))
    return settings, []


def _file_layer(path: Path) -> tuple[list[Setting], list[Diagnostic]]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageProblem(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return read_settings(text, str(path), SECTIONS)
    except YamlProblem as error:
        return [], [error.diagnostic]


def _known_settings(settings: Iterable[Setting]) -> tuple[dict[Key, Setting], list[Diagnostic]]:
    """Aliases resolved; unknown keys and one key under two spellings become problems."""
    known: dict[Key, Setting] = {}
    problems: list[Diagnostic] = []
    for setting in settings:
        moved = translate(setting.key, setting.value, _KNOWN, _FLAT)
        if moved is None:
            continue
        key, value = moved
        dotted = ".".join(setting.key)
        if key in SECTIONS_AS_KEYS:
            problems.append(setting.diagnostic(f"{dotted}: expected settings below it, as '{dotted}: {{key: value}}'"))
        elif key not in _KNOWN:
            problems.append(setting.diagnostic(f"unknown key {dotted!r}", _suggestion(setting.key)))
        elif key in known and known[key].value != value:
            problems.append(setting.diagnostic(f"{dotted} and {'.'.join(known[key].key)} mean the same but differ; give one"))
        else:
            known[key] = dataclasses.replace(setting, value=value)
    return known, problems


SECTIONS_AS_KEYS = frozenset((section,) for section in SECTIONS)


def _suggestion(key: Key) -> str | None:
    from orchestrator.spec.aliases import spellings

    names = {k[-1]: ".".join(k) for k in FIELDS} | spellings()
    near = difflib.get_close_matches(key[-1].lower(), names, n=1, cutoff=0.6)
    return f"did you mean {names[near[0]]}?" if near else "cloudtune schema prints every key"


def _build(merged: Mapping[Key, Setting], problems: list[Diagnostic], path: Path) -> JobSpec | None:
    """Convert value by value, so that every wrong one is reported; None when any is."""
    hints = {name: typing.get_type_hints(kind, include_extras=True) for name, kind in _section_types().items()}
    values: dict[str, Any] = {}
    for key, spec_field in FIELDS.items():
        setting = merged.get(key)
        if setting is None:
            if spec_field.default is dataclasses.MISSING and spec_field.default_factory is dataclasses.MISSING:
                missing = f"{'.'.join(key)} is missing"
                if not any(p.message.startswith("YAML") or "empty" in p.message for p in problems):
                    problems.append(Diagnostic(source=str(path), line=0, column=0, message=missing))
            continue
        kind = hints[key[0] if len(key) == 2 else ""][key[-1]]
        try:
            value = msgspec.convert(setting.value, kind, strict=True)
        except msgspec.ValidationError as error:
            problems.append(setting.diagnostic(f"{'.'.join(key)}: {_readable(str(error), setting.value)}"))
            continue
        if len(key) == 2:
            values.setdefault(key[0], {})[key[1]] = value
        else:
            values[key[0]] = value
    if problems:
        return None
    sections = _section_types()
    return JobSpec(**{name: sections[name](**value) if name in SECTIONS else value for name, value in values.items()})


def _rules(spec: JobSpec, merged: Mapping[Key, Setting], path: Path) -> list[Diagnostic]:
    """What no single type can say."""
    found: list[Diagnostic] = []
    if spec.training.max_steps == 0:
        found.append(
            merged["training", "max_steps"].diagnostic("training.max_steps: 0 trains nothing", "-1 for as many as the epochs need")
        )
    deadline_s = spec.limits.deadline_s
    if deadline_s is not None and not MIN_DEADLINE_S <= deadline_s <= MAX_DEADLINE_S:
        found.append(merged["limits", "deadline"].diagnostic("limits.deadline: must lie between a minute and a year"))
    if ("resources", "infra") in merged and not spec.resources.infra:
        found.append(merged["resources", "infra"].diagnostic("resources.infra names no place", "local, for this machine"))
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError:
        found.append(Diagnostic(source=repr(str(path)), line=0, column=0, message="the path of the job folder is not UTF-8 text"))
    return found


def _section_types() -> dict[str, Any]:
    hints = typing.get_type_hints(JobSpec)
    return {"": JobSpec} | {name: hints[name] for name in SECTIONS}


def _readable(error: str, value: Any) -> str:
    """msgspec's message in words a person who never saw Python understands."""
    words = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "null": "nothing"}
    words |= {"array": "a list", "object": "a mapping"}
    text = re.sub(r", got `.*$", "", error[0].lower() + error[1:])
    text = re.sub(r"`([^`]*)`", lambda m: " or ".join(words.get(part, part) for part in m[1].split(" | ")), text)
    if "matching regex" in text:  # the only pattern in the table is the duration's
        text = "expected a duration such as 8h, 90m or 1h30m"
    shown = repr(value)
    return f"{text}, got {shown if len(shown) <= 60 else shown[:57] + '...'}"
