"""A user with a credential and a job folder, whose ``cloudtune`` runs beside a rig: what a person would type, typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.rigs.machines.rig import Rig
from tests.rigs.slurm.rig import SlurmRig

JOB = """\
model: {model}
dataset: {{path: data.csv, prompt: "review {{text}} sentiment", label: label, eval_fraction: 0.2}}
quantization: none
lora: {{r: 4, alpha: 8, dropout: 0.1}}
training: {{max_length: 24, per_device_train_batch_size: 4, gradient_accumulation_steps: 2, num_train_epochs: {epochs}, learning_rate: 1e-3,
  gradient_checkpointing: false, save_steps: {save_steps}}}
resources: {{gpus: {gpu}, use_spot: false}}
"""


class RentingDesk:
    """One user of a rig."""

    def __init__(
        self, rig: Rig | SlurmRig, folder: Path, model: Path | str, *, gpu: str = "RTX4090", epochs: int = 1, save_steps: int = 10
    ) -> None:
        self.rig = rig
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        rig.make_home(self.home)
        self.state = self.home / ".local/state/cloudtune"
        if isinstance(rig, Rig):
            rig.image.seed_wheel(self.state / "skypilot")  # what SkyPilot builds on its first launch with the package index
        self.job = folder / "job"
        self.job.mkdir()
        words = ["film", "plot", "actor", "scene", "quite", "very"]
        rows = [
            f"{words[i % 6]} was {words[i * 5 % 6]} {'good' if i % 2 else 'bad'},{'positive' if i % 2 else 'negative'}" for i in range(50)
        ]
        (self.job / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
        text = JOB.format(gpu=gpu, model=json.dumps(str(model)), epochs=epochs, save_steps=save_steps)
        (self.job / "cloudtune.yaml").write_text(text, encoding="utf-8")

    @property
    def env(self) -> dict[str, str]:
        return {"HOME": str(self.home), "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", "HF_HUB_OFFLINE": "1"}

    def command(self, *arguments: str) -> list[str]:
        """How the command is started."""
        return [str(Path(sys.executable).with_name("cloudtune")), *arguments]

    def cloudtune(self, *arguments: str, bound_s: float = 240.0) -> subprocess.CompletedProcess[str]:
        """The command in the job folder, to its end."""
        return self.rig.run(self.command(*arguments), env=self.env, cwd=self.job, timeout=bound_s)

    def start(self, *arguments: str) -> subprocess.Popen[Any]:
        """The command, left running; its output goes to ``output.txt`` in the job folder."""
        with open(self.job / "output.txt", "ab") as output:
            return self.rig.popen(self.command(*arguments), env=self.env, cwd=self.job, stdout=output, stderr=output)

    def output(self) -> str:
        """What a started command has said."""
        path = self.job / "output.txt"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def receipt(self) -> dict[str, Any]:
        """The receipt in the run's folder."""
        [path] = (self.state / "runs").glob("*/receipt.json")
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document
