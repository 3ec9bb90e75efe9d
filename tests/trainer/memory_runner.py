"""``python -P memory_runner.py CONFIG...``: trains each config in a fork of this process and writes the peak next to it.

A fork starts with everything imported, so each training costs its own time only; its peak resident set is its own too.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import bitsandbytes  # noqa: F401 - imported once, before the forks
import peft  # noqa: F401
import transformers.integrations.bitsandbytes
import transformers.models.llama.modeling_llama  # noqa: F401
from transformers import Trainer  # noqa: F401

from trainer.attempt import run_attempt
from trainer.contract import load_config
from trainer.progress import Progress
from trainer.stop import Stop


def _train(path: Path) -> None:
    config, said = load_config(path), dict[str, Any]()
    Path(config.out_dir).mkdir()
    with Progress(Path(config.out_dir) / "progress.jsonl") as progress:
        run_attempt(config, progress, Stop(config), said)
    path.with_suffix(".peak").write_text(str(said["peak_memory_bytes"]), encoding="utf-8")


for argument in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            _train(Path(argument))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"{argument} failed")
