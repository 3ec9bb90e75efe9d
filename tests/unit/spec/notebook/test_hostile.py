"""Bad and hostile input: bounded time and memory, nothing run, and an error that says what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.spec.notebook import cells, errors, import_notebook, magics, write

TRAINS = (
    "from trl import SFTTrainer, SFTConfig\nfrom transformers import AutoModelForCausalLM\nfrom datasets import load_dataset\n"
    "SFTTrainer(model=AutoModelForCausalLM.from_pretrained('acme/m'), args=SFTConfig('o', max_steps=3), train_dataset=load_dataset('acme/d')).train()\n"
)


def notebook(*sources: str, **more: Any) -> dict[str, Any]:
    made = [{"cell_type": "code", "metadata": {}, "source": one, "outputs": [], "execution_count": None} for one in sources]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made, **more}


def save(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


DEEP = 3000
HOSTILE = {
    "nested brackets": "x = " + "(" * DEEP + ")" * DEEP,
    "nested calls": "x = " + "f(" * 90 + ")" * 90,
    "nested lists": "x = " + "[" * 95 + "]" * 95,
    "long sum": "x = " + "+".join(["1"] * 50_000),
    "long minus": "x = " + "-" * 20_000 + "1",
    "long attribute": "x = a" + ".b" * 20_000,
    "long subscript": "x = a" + "[0]" * 20_000,
    "long not": "x = " + "not " * 5_000 + "1",
    "nested lambda": "x = " + "lambda: " * 5_000 + "1",
    "nested ifs": "\n".join("  " * depth + "if unk():" for depth in range(95)) + "\n" + "  " * 95 + "x = 1",
    "nested loops": "\n".join("  " * depth + f"for i{depth} in unk():" for depth in range(18)) + "\n" + "  " * 18 + "x = 1",
    "elif chain": "if unk(0):\n  x = 0\n" + "".join(f"elif unk({i}):\n  x = {i}\n" for i in range(2_000)),
    "power": "x = 9 ** 9 ** 9 ** 9",
    "shift": "x = 1 << 10 ** 12",
    "repeat": "x = 'a' * 10 ** 12\ny = [0] * 10 ** 12\nz = (1,) * 10 ** 10\nw = b'a' * 10 ** 12",
    "doubling text": "x = 'a'\n" + "x = x + x\n" * 200,
    "doubling list": "x = [1]\n" + "x = x + x\n" * 60 + "y = [[x, x] for i in x]\n",
    "doubling nest": "x = []\n" + "x = [x, x]\n" * 200,
    "wide format": "x = f'{1:>999999999999}'\ny = '%999999999d' % 1\nz = '{:>999999999}'.format(1)\nw = '%*d' % (10 ** 9, 1)",
    "replace": "x = ('a' * 9999).replace('a', 'b' * 9999).replace('b', 'c' * 9999)",
    "join": "x = ('a' * 9999).join(['b'] * 9999)",
    "range": "x = list(range(10 ** 12))\ny = [i for i in range(10 ** 9)]",
    "huge number": "x = " + "9" * 100_000,
    "recursion": "def f(n):\n  return f(n - 1)\nx = f(10 ** 9)\ndef g(): return h()\ndef h(): return g()\ny = g()",
    "fan of calls": "def f0(): return 1\n" + "".join(f"def f{i}():\n  f{i - 1}()\n  f{i - 1}()\n  f{i - 1}()\n  return f{i - 1}()\n" for i in range(1, 12)) + "x = f11()",
    "cycle": "x = []\nx.append(x)\nd = {}\nd['d'] = d\nclass C: pass\nc = C()\nc.c = c\nunk(x, d, c)\nprint(f'{x}{d}')",
    "comprehensions": "x = [[[[i for i in range(99)] for j in range(99)] for k in range(99)] for m in range(99)]",
    "many names": "\n".join(f"n{i} = {i}" for i in range(20_000)),
    "branches": "\n".join(f"if unk({i}):\n  v{i % 7} = {i}" for i in range(3_000)),
    "chain": "x = unk()\n" + "x = x.map(1)\n" * 5_000,
    "class bases": "class A: pass\n" + "".join(f"class A{i}({'A' if i == 0 else f'A{i - 1}'}): pass\n" for i in range(300)) + "x = A299().y",
    "diamonds": "class A: pass\nclass B: pass\n" + "class A(A, B): pass\nclass B(B, A): pass\n" * 20 + "x = A().y",
    "dangerous": "import os\nos.system('touch ran')\n__import__('os').system('touch ran')\nopen('ran', 'w').write('x')\nexec('open(\"ran\", \"w\")')",
    "decorators": "import os\n@os.system('touch ran')\ndef f(): pass\n" + "@unk\n" * 500 + "class C(metaclass=unk): pass",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_code_is_bounded_and_the_rest_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "n.ipynb", notebook(HOSTILE[name], TRAINS))
    start = time.process_time()
    found = import_notebook(path)
    assert time.process_time() - start < 5
    assert found.job["training"] == {"max_steps": 3}
    assert not (tmp_path / "ran").exists()
    assert yaml.safe_load(found.to_yaml()) == found.job


def test_a_statement_too_long_to_follow_is_named_and_what_it_changes_unknown(tmp_path: Path) -> None:
    slow = "y = 2\nfor i in unk():\n  x = " + "[" + "1," * 60_000 + "]\n  y = 3"
    found = import_notebook(save(tmp_path / "n.ipynb", notebook("x = 1\n" + slow, TRAINS.replace("max_steps=3", "max_steps=3, seed=y"))))
    assert "training.seed" in [one["key"] for one in found.unresolved]
    assert any("too long to follow" in note for note in found.notes)


def test_conditions_on_the_way_to_the_model_are_followed_once(tmp_path: Path) -> None:
    """Two ways at each of sixty places are 2**60 ways in all."""
    wrapped = "if unk():\n  net = net.to(1)\nelse:\n  net = net.cuda()\n" * 60
    code = TRAINS.replace("SFTTrainer(model=", "net = ").replace(", args=", f"\n{wrapped}SFTTrainer(model=net, args=")
    start = time.process_time()
    found = import_notebook(save(tmp_path / "n.ipynb", notebook(code)))
    assert time.process_time() - start < 2
    assert [one["key"] for one in found.unresolved] == ["model"]


def test_many_statements(tmp_path: Path) -> None:
    text = "\n".join("x = [1, 2, 3, 4, 5, 6, 7, 8]" for _ in range(60_000))
    start = time.process_time()
    assert import_notebook(save(tmp_path / "n.ipynb", notebook(text, text[:100_000], TRAINS))).job["training"] == {"max_steps": 3}
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("name", "content", "error", "match"),
    [
        ("n.ipynb", "", errors.NotANotebook, "is not a notebook"),
        ("n.ipynb", "[1, 2]", errors.NotANotebook, "not a notebook"),
        ("n.ipynb", "{}", errors.NotANotebook, "no cells"),
        ("n.ipynb", '{"cells": 3}', errors.NotANotebook, "no cells"),
        ("n.ipynb", '{"cells": [1, null, {"cell_type": "code"}, {"cell_type": "code", "source": [1, null], "outputs": 3}]}', errors.NothingFound, "nothing found"),
        ("n.ipynb", '{"a":' * 5_000, errors.NotANotebook, "nested too deeply|not a notebook"),
        ("n.ipynb", "[" * 900_000, errors.NotANotebook, "nested too deeply|not a notebook"),
        ("n.ipynb", '{"cells": [' + "9" * 5_000 + "]}", errors.NotANotebook, "not a notebook"),
        ("n.ipynb", '{"cells": [' + "[],".join([""] * 1_100_000) + "0]}", errors.TooLarge, "too many"),
        ("n.ipynb", '{"cells": [' + "0," * 30_000 + "0]}", errors.TooLarge, "30,001 cells"),
        ("n.ipynb", json.dumps(notebook("x", metadata={"kernelspec": {"language": "R"}})), errors.NotANotebook, "in R, not in Python"),
        ("n.ipynb", json.dumps(notebook("x", metadata={"language_info": {"name": "julia"}})), errors.NotANotebook, "in julia"),
        ("n.R", "library(x)", errors.NotANotebook, "not Python"),
        ("n.py", "", errors.NothingFound, "nothing found"),
        ("n.py", "this is really not python", errors.NothingFound, "syntax error"),
        ("n.py", "x = '\x00'", errors.NothingFound, "nothing found"),
        ("n.py", "# %%\nx = 1\n" * 3, errors.NothingFound, "nothing found"),
    ],
)  # fmt: skip
def test_bad_input(name: str, content: str, error: type[errors.NotebookProblem], match: str, tmp_path: Path) -> None:
    start = time.process_time()
    with pytest.raises(error, match=match) as caught:
        import_notebook(save(tmp_path / name, content))
    assert caught.value.hint
    assert time.process_time() - start < 5


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(errors.NotANotebook, match="cannot be read"):
        import_notebook(tmp_path / "missing.ipynb")
    with pytest.raises(errors.NotANotebook, match="not a file"):
        import_notebook(tmp_path)
    (tmp_path / "n.ipynb").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(errors.NotANotebook, match="UTF-8"):
        import_notebook(tmp_path / "n.ipynb")


def test_an_output_of_a_gigabyte_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # sparse
    start = time.process_time()
    with pytest.raises(errors.TooLarge, match="1,024 MiB") as caught:
        import_notebook(path)
    assert time.process_time() - start < 0.5
    assert "clear-output" in caught.value.hint


def test_large_outputs_in_bounded_memory(tmp_path: Path) -> None:
    """60 MB of output: read by a process whose memory is measured."""
    document = notebook(TRAINS)
    document["cells"][0]["outputs"] = [{"output_type": "stream", "text": ["x" * 1_000_000 + "\n"] * 60}]
    path = save(tmp_path / "n.ipynb", document)
    program = (
        "import resource, sys; from pathlib import Path; from orchestrator.spec.notebook import import_notebook; "
        f"print(import_notebook(Path({str(path)!r})).job['model']); "
        # the peak of this program alone: on Linux, ru_maxrss begins with what the parent had when it started it
        "linux = sys.platform == 'linux'; own = Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0] if linux else ''; "
        "print(own or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[4])
    model, peak_kib = ran.stdout.split()
    assert model == "acme/m"
    assert int(peak_kib) < 700 * (1 if sys.platform == "linux" else 1024) * 1024


def test_two_megabytes_in_200_ms(tmp_path: Path) -> None:
    """A notebook as people have them: hundreds of cells, and outputs that make most of its size."""
    filler = [
        "import os\nfor i in range(10):\n    print(i)\n",
        "df = pd.DataFrame({'a': [1, 2]})\ndf.describe()\n",
        "def f(x):\n    return x + 1\nf(2)\n",
    ]
    document = notebook(*(filler * 100), TRAINS)
    for cell in document["cells"]:
        cell["outputs"] = [{"output_type": "display_data", "data": {"image/png": "A" * 5_500, "text/html": "<td>1</td>" * 100}}]
    path = save(tmp_path / "n.ipynb", document)
    assert path.stat().st_size > 1.9e6
    taken = []
    for _ in range(3):
        start = time.process_time()
        import_notebook(path)
        taken.append(time.process_time() - start)
    assert min(taken) < 0.2


def test_version_three(tmp_path: Path) -> None:
    cells_ = [{"cell_type": "code", "input": TRAINS.splitlines(keepends=True), "language": "python", "prompt_number": 1, "outputs": []}]
    found = import_notebook(save(tmp_path / "n.ipynb", {"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells_}]}))
    assert found.job["model"] == "acme/m"


def test_an_exported_notebook(tmp_path: Path) -> None:
    text = (
        "#!/usr/bin/env python\n# coding: utf-8\n\n# In[1]:\n\n\nget_ipython().run_line_magic('matplotlib', 'inline')\nN = 3\n"
        "get_ipython().system('pip install trl')\n\n# In[2]:\n\n\nget_ipython().run_cell_magic('time', '', 'BATCH = 4\\n')\n\n# In[ ]:\n\n\n"
        + TRAINS.replace("max_steps=3", "max_steps=N, per_device_train_batch_size=BATCH")
    )
    assert import_notebook(save(tmp_path / "n.py", text)).job["training"] == {"max_steps": 3, "per_device_train_batch_size": 4}


def test_a_broken_cell_of_a_percent_file_is_named(tmp_path: Path) -> None:
    found = import_notebook(save(tmp_path / "n.py", "# %%\n!pip install x\n# %%\nfor for\n# %%\n" + TRAINS))
    assert found.job["training"] == {"max_steps": 3}
    assert any("syntax error in line 4" in note for note in found.notes)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab=!%?()[]{}'\"#\\\n \t", max_size=80))
def test_stripping_never_moves_a_line(text: str) -> None:
    assert magics.strip_lines(text).count("\n") == text.count("\n")
    assert magics.strip("%%capture\n" + text).text.count("\n") == text.count("\n") + 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=40), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=40), _json, max_size=4), st.text())
def test_what_is_written_reads_back(job: dict[str, Any], text: str) -> None:
    shown = write.render(
        text, job, {}, [{"key": text, "expression": text, "why": text}], {"a": {"from": text, "to": None, "why": text}}, [text]
    )
    assert yaml.safe_load(shown) == job


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_refused_in_words(text: str) -> None:
    cell = cells.Cell(0, text)
    cells._parsed([cell], {}, [], "n.py")
    assert cell.tree is not None or cell.problem
