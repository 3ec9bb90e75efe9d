"""Every broken input of the corpus is found and named, with exit 2 and no traceback; every odd but legal one passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import checking, output
from orchestrator.errors import CloudtuneError
from tests.trainer.trainer_rig import make_tokenizer
from tests.unit.data.corpus import BROKEN, LEGAL, Case


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def checked(folder: Path, case: Case, tokenizer: dict[str, str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """(exit code, everything said), as the command's process would end."""
    model = folder / "model"
    model.mkdir()
    for name, text in tokenizer.items():
        (model / name).write_text(text, encoding="utf-8")
    if case.template is None:
        (model / "chat_template.jinja").unlink()
    elif case.template:
        (model / "chat_template.jinja").write_text(case.template, encoding="utf-8")
    if not case.eos:
        config = json.loads(tokenizer["tokenizer_config.json"])
        config.pop("eos_token")
        (model / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    path = folder / case.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(case.content)
    (folder / "cloudtune.yaml").write_text(json.dumps({"model": "model", "dataset": case.name} | case.job), encoding="utf-8")
    output.choose(output.Format.TEXT)
    try:
        code = checking.check(folder / "cloudtune.yaml", drop_bad_rows=False, offline=True)
    except CloudtuneError as error:
        code = int(error.exit_code)
        output.show_error(error)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("case", BROKEN, ids=[case.id for case in BROKEN])
def test_broken(tmp_path: Path, case: Case, tokenizer: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(tmp_path, case, tokenizer, capsys)
    assert code == 2, said
    assert case.said in said
    assert (f"{case.name}:{case.line}:" if case.line is not None else case.name) in said


@pytest.mark.parametrize(("source", "name", "content", "rows"), LEGAL, ids=[item[0] for item in LEGAL])
def test_legal(
    tmp_path: Path, source: str, name: str, content: bytes, rows: int, tokenizer: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = checked(tmp_path, Case(source=source, name=name, content=content, said=""), tokenizer, capsys)
    assert code == 0 and f"{rows} rows can be used" in said, said


def test_the_corpus_is_large_and_each_broken_input_has_its_own_source() -> None:
    sources = [case.source for case in BROKEN]
    assert len(BROKEN) >= 60 and len(set(sources)) == len(sources) and all("#" in source for source in sources)
    assert len(LEGAL) >= 20
