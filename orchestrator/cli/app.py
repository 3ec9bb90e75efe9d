"""The ``cloudtune`` command: options and help. Logic and heavy imports live elsewhere, behind each command's body."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli.output import Format, choose, show_error
from orchestrator.errors import CloudtuneError, ExitCode

_EPILOG = (
    "Exit codes: 0 ok · 1 a bug · 2 bad usage, spec or data · 3 no offer fits · 4 stopped by budget or deadline, adapter saved · "
    "5 training failed · 6 teardown unconfirmed · 130 interrupted"
)

app = typer.Typer(
    name="cloudtune",
    help="Fine-tune on the cheapest GPU that fits: never more than the budget, the adapter comes home, nothing is left running.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JobArgument = Annotated[Path | None, typer.Argument(metavar="JOB", help="Job file or folder; default ./cloudtune.yaml", show_default=False)]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or its first characters (cloudtune ps)")]
OutputOption = Annotated[Format, typer.Option("--output", "-o", help="text, or one JSON document on stdout")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the answer")]


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"cloudtune {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version")] = False,
) -> None:
    """Fine-tune on the cheapest GPU that fits: never more than the budget, the adapter comes home, nothing is left running."""


@app.command(rich_help_panel="Start")
def init(
    template: Annotated[
        str | None, typer.Argument(metavar="[TEMPLATE]", help="sentiment, preference or chat-sft", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="New folder; default: the template's name", show_default=False)
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Make a job folder from a task template. Without TEMPLATE: list the templates."""
    choose(output)
    from orchestrator.cli import init as command

    command.run(template, folder)


@app.command("import", rich_help_panel="Start")
def import_(
    notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="A Kaggle or Colab notebook: .ipynb, or .py")],
    to: Annotated[Path | None, typer.Option("--to", help="The job file to write; default ./cloudtune.yaml", show_default=False)] = None,
    trainer: Annotated[int | None, typer.Option("--trainer", help="Which fine-tune, where there are several", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing job file")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Write a job file from a notebook, by reading it: nothing of it is executed."""
    choose(output)
    from orchestrator.cli import importing

    importing.run(notebook, to, trainer, force)


@app.command(rich_help_panel="Start")
def run(
    job: JobArgument = None,
    budget: Annotated[float | None, typer.Option("--budget", help="The most it may cost, in dollars", show_default=False)] = None,
    deadline: Annotated[str | None, typer.Option("--deadline", help="The longest it may take: 8h, 90m", show_default=False)] = None,
    infra: Annotated[str | None, typer.Option("--infra", help="Where: local, vast, simulated", show_default=False)] = None,
    gpus: Annotated[str | None, typer.Option("--gpus", help="Only these GPUs: T4,L4", show_default=False)] = None,
    model: Annotated[str | None, typer.Option("--model", help="Another model than the job file's", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="With --infra simulated: which night", show_default=False)] = None,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="PLAN", help="What this plan showed: its name, its file, or last", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done")] = False,
    use_my_skypilot: Annotated[bool, typer.Option("--use-my-skypilot", help="Rent through your own ~/.sky and its server")] = False,
    output: OutputOption = Format.TEXT,
    quiet: QuietOption = False,
) -> None:
    """Train, bring the adapter home, leave nothing running. The same command again goes on where something broke."""
    choose(output, quiet)
    if infra == "simulated":
        from orchestrator.cli import simulate

        raise typer.Exit(simulate.run(seed or 0))
    from orchestrator.cli import running

    flags = {
        ("limits", "budget_usd"): budget,
        ("limits", "deadline"): deadline,
        ("resources", "infra"): [place for place in infra.split(",") if place] if infra is not None else None,
        ("resources", "gpus"): [gpu for gpu in gpus.split(",") if gpu] if gpus is not None else None,
        ("model",): model,
    }
    raise typer.Exit(running.run(job, flags, ask=not yes, dry_run=dry_run, use_my_skypilot=use_my_skypilot, plan=plan))


@app.command(rich_help_panel="Start")
def check(
    job: JobArgument = None,
    drop_bad_rows: Annotated[bool, typer.Option("--drop-bad-rows", help="List bad rows in dropped.jsonl and go on without them")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="No network at all")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Read every row of the dataset and name what cannot be used, by file and line; rents nothing."""
    choose(output)
    from orchestrator.cli import checking

    raise typer.Exit(checking.check(job, drop_bad_rows=drop_bad_rows, offline=offline))


@app.command(rich_help_panel="Start")
def estimate(
    job: JobArgument = None,
    gpu: Annotated[str, typer.Option("--gpu", help="The card to draw the picture for")] = "T4",
    fit: Annotated[
        str | None, typer.Option("--fit", metavar="GPU", help="Print the settings with which it fits", show_default=False)
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Trace the model itself, for architectures no formula knows")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="No network at all")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Another model than the job file's", show_default=False)] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Memory by component, the cards it fits, what would make it fit, and the hours on each."""
    choose(output)
    from orchestrator.cli import estimating

    estimating.estimate(job, gpu=gpu, fit_gpu=fit, trace=trace, offline=offline, model=model)


@app.command(rich_help_panel="Start")
def plan(
    job: JobArgument = None,
    budget: Annotated[float | None, typer.Option("--budget", help="The most it may cost, in dollars", show_default=False)] = None,
    deadline: Annotated[str | None, typer.Option("--deadline", help="The longest it may take: 8h, 90m", show_default=False)] = None,
    infra: Annotated[str | None, typer.Option("--infra", help="Where: vast,runpod,aws/us-east-1", show_default=False)] = None,
    gpus: Annotated[str | None, typer.Option("--gpus", help="Which: L4,A100-80GB:1", show_default=False)] = None,
    spot: Annotated[bool | None, typer.Option("--use-spot/--no-spot", help="Only spot, or none; default: both", show_default=False)] = None,
    keep_quality: Annotated[bool, typer.Option("--keep-quality", help="Refuse changes of what is learned")] = False,
    allow_unguarded: Annotated[bool, typer.Option("--allow-unguarded", help="Clouds where nothing ends a forgotten instance")] = False,
    explain: Annotated[int | None, typer.Option("--explain", metavar="RANK", help="All about one offer", show_default=False)] = None,
    model: Annotated[str | None, typer.Option("--model", help="Another model than the job file's", show_default=False)] = None,
    offline: Annotated[bool, typer.Option("--offline", help="No network at all")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Every offer this job fits, cheapest for the whole job first; and why the others are out. Rents nothing."""
    choose(output)
    from orchestrator.cli import planning

    flags = {
        ("limits", "budget_usd"): budget,
        ("limits", "deadline"): deadline,
        ("resources", "infra"): [place for place in infra.split(",") if place] if infra is not None else None,
        ("resources", "gpus"): [name for name in gpus.split(",") if name] if gpus is not None else None,
        ("resources", "use_spot"): spot,
        ("model",): model,
    }
    planning.plan_command(job, flags, offline=offline, keep_quality=keep_quality, allow_unguarded=allow_unguarded, explain=explain)


@app.command(rich_help_panel="Start")
def doctor(output: OutputOption = Format.TEXT) -> None:
    """What this machine can train on and rent, what is missing, and how to get it."""
    choose(output)
    from orchestrator.cli import doctor as doctors

    raise typer.Exit(doctors.doctor())


@app.command(rich_help_panel="Money")
def offers(
    action: Annotated[str | None, typer.Argument(metavar="[refresh]", help="Fetch newer prices first", show_default=False)] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """The prices that plans are made from, their age and source."""
    choose(output)
    from orchestrator.cli import offering

    raise typer.Exit(offering.offers(action))


@app.command(rich_help_panel="Watch and steer")
def ps(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Settled runs too")] = False, output: OutputOption = Format.TEXT
) -> None:
    """List runs: where they stand and what they have cost."""
    choose(output)
    from orchestrator.cli import watching

    watching.ps(everything)


@app.command(rich_help_panel="Watch and steer")
def logs(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Print what the box has said."""
    choose(output)
    from orchestrator.cli import watching

    watching.logs(run, follow)


@app.command(rich_help_panel="Watch and steer")
def attach(run: RunArgument, output: OutputOption = Format.TEXT, quiet: QuietOption = False) -> None:
    """Watch a run until it ends; take it over when nobody controls it."""
    choose(output, quiet)
    from orchestrator.cli import running

    raise typer.Exit(running.attach(run))


@app.command(rich_help_panel="Watch and steer")
def stop(run: RunArgument, output: OutputOption = Format.TEXT, quiet: QuietOption = False) -> None:
    """End a run: save, bring home what was learned, tear down."""
    choose(output, quiet)
    from orchestrator.cli import running

    raise typer.Exit(running.stop(run))


@app.command(rich_help_panel="Watch and steer")
def down(run: RunArgument, output: OutputOption = Format.TEXT, quiet: QuietOption = False) -> None:
    """End a run at once. What is only on the machine is lost; stop saves it first."""
    choose(output, quiet)
    from orchestrator.cli import accounts

    raise typer.Exit(accounts.down(run))


@app.command(rich_help_panel="Money")
def cost(output: OutputOption = Format.TEXT) -> None:
    """Am I being charged right now? And what every run has cost."""
    choose(output)
    from orchestrator.cli import accounts

    raise typer.Exit(accounts.cost())


@app.command(rich_help_panel="Money")
def sweep(
    everything: Annotated[bool, typer.Option("--all", help="Other installations' forgotten instances too, after asking")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Find and end what nobody is using any more."""
    choose(output)
    from orchestrator.cli import accounts

    raise typer.Exit(accounts.sweep(everything, ask=not yes))


@app.command(rich_help_panel="Results")
def pull(
    run: RunArgument,
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder for the adapter; default: the job's output.adapter", show_default=False)
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Put a run's adapter, verified, where you want it."""
    choose(output)
    from orchestrator.cli import running

    running.pull(run, to)


@app.command(rich_help_panel="Start")
def schema(output: OutputOption = Format.JSON) -> None:
    """Print the JSON schema of cloudtune.yaml, for editors. It is JSON either way."""
    choose(output)
    from orchestrator.cli.output import print_json
    from orchestrator.spec.schema import job_schema

    print_json(job_schema())


def _output_failed(error: OSError) -> int:
    """The last resort: what was asked for could not be printed, or the system refused something nobody foresaw."""
    with contextlib.suppress(OSError):  # stderr may be gone too
        sys.stderr.write(f"error: {error}\n  being charged: see cloudtune cost\n")
    os._exit(ExitCode.BUG)  # not sys.exit: flushing a broken stdout would raise once more


def main() -> None:
    """Entry point of the ``cloudtune`` command; exits the process."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        code = ExitCode.INTERRUPTED
    except typer.TyperException as error:
        from typer.rich_utils import rich_format_error

        rich_format_error(error)  # type: ignore[arg-type]  # typer's own subclass, which it does not export
        code = ExitCode.USAGE
    except CloudtuneError as error:
        show_error(error)
        code = error.exit_code
    except BrokenPipeError:
        code = ExitCode.OK  # the reader of our output has seen enough
    except OSError as error:
        code = _output_failed(error)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    sys.exit(int(code or 0))
