"""What a box would be sent and the room it needs, for ``check``. Sends nothing."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.backends.bundle import CONFIG_FILE, EVAL_FILE, JOB_DIR, TRAIN_FILE, trainer_config, trainer_files
from orchestrator.backends.models import local_folder
from orchestrator.cli.estimating import problems_for_a_person, shape_of_model
from orchestrator.data.prepare import Prepared
from orchestrator.data.report import Report
from orchestrator.errors import UsageProblem
from orchestrator.estimate.job import workload_of
from orchestrator.plan.facts import JobFacts
from orchestrator.spec.jobspec import Job
from trainer.contract import dump_config


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of the upload, or a folder's many."""

    name: str  # on the box
    files: int
    size_bytes: int
    exact: bool = True


def manifest(job: Job, report: Report) -> list[Part]:
    """Everything that goes up, the training rows first. How many of them are held out is the split's affair: about."""
    held_out = report.held_out_bytes
    if job.spec.dataset.eval_path is None and report.rows:
        data = job.spec.dataset
        held_out = round(report.train_bytes * min(data.eval_fraction, data.eval_rows / report.rows))
    train = report.train_bytes - (0 if job.spec.dataset.eval_path is not None else held_out)
    parts = [Part(name=f"{JOB_DIR}/{TRAIN_FILE}", files=1, size_bytes=train, exact=False)]
    if held_out:
        parts.append(Part(name=f"{JOB_DIR}/{EVAL_FILE}", files=1, size_bytes=held_out, exact=False))
    nothing = Prepared(train=(), held_out=(), labels=tuple(report.labels), sentence="")
    config = len(dump_config(trainer_config(job.spec, nothing, job.spec.model)).encode())
    parts.append(Part(name=f"{JOB_DIR}/{CONFIG_FILE}", files=1, size_bytes=config, exact=False))
    code = [path.stat().st_size for path, _ in trainer_files()]
    parts.append(Part(name="trainer/", files=len(code), size_bytes=sum(code)))
    folder = local_folder(job)
    if folder is not None:
        model = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        parts.append(Part(name="model/", files=len(model), size_bytes=sum(model)))
    return parts


def disk_gb(job: Job, parts: list[Part], *, offline: bool) -> int | str:
    """GB that the box needs for environment, weights, checkpoints and data; or why that is not known.

    Raises UsageProblem when the job asks for less.
    """
    try:
        with problems_for_a_person():
            workload = workload_of(job.spec, shape_of_model(job, offline=offline))
    except UsageProblem as error:
        return error.message
    upload = sum(part.size_bytes for part in parts)
    needed = JobFacts(workload=workload, tokens=1, mean_length=1).disk_gb + -(-2 * upload // 10**9)  # sent, and read into a cache
    asked = job.spec.resources.disk_gb
    if isinstance(asked, int) and asked < needed:
        raise UsageProblem(
            f"resources.disk_gb is {asked}, and this job needs {needed}: the environment, the model's weights, checkpoints and the data",
            hint=f"resources: {{disk_gb: {needed}}}, or auto",
        )
    return needed
