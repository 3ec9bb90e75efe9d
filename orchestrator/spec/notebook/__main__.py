"""python -m orchestrator.spec.notebook PATH [-o json] [--trainer N]: tries the importer without the command line around it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import import_notebook
from .errors import NotebookProblem


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m orchestrator.spec.notebook", description="The job file of a notebook.")
    parser.add_argument("path", type=Path)
    parser.add_argument("-o", "--output", choices=["yaml", "json"], default="yaml")
    parser.add_argument("--trainer", type=int)
    given = parser.parse_args()
    try:
        found = import_notebook(given.path, trainer=given.trainer)
    except NotebookProblem as problem:
        print(problem.message, problem.hint, sep="\n", file=sys.stderr)
        return 2
    print(json.dumps(found.to_json(), indent=2) if given.output == "json" else found.to_yaml(), end="" if given.output == "yaml" else "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
