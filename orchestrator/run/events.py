"""What the core wants done (Command) and what happened (Event). Frozen, tagged, strictly decoded.

A Command that touches the world is journalled inside :class:`Intended` before it is done, and its outcome after.
Must not decide anything.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from orchestrator.plan.budget import Policy
from orchestrator.plan.offers import Offer


class Outcome(StrEnum):
    """How a Run ended."""

    SUCCEEDED = "succeeded"  # trained to the end, adapter verified at home
    STOPPED = "stopped"  # budget, deadline or user; what was learned is at home
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # Ctrl-C; the same command goes on


class Reason(StrEnum):
    """Why an Attempt or a Run ended. Separate from Outcome: the same reason may end either way."""

    COMPLETED = "completed"
    BUDGET = "budget"
    DEADLINE = "deadline"
    USER = "user"
    DOWN = "down"  # a person wants it ended at once, saved or not
    INTERRUPT = "interrupt"
    NO_CAPACITY = "no_capacity"
    REFUSED = "refused"  # the provider said no: credentials, quota, a request it does not take
    CREATE_FAILED = "create_failed"  # an error, and no instance appeared within the grace
    NEVER_READY = "never_ready"
    FUSE = "fuse"  # ended by its first, short timer before anybody had verified it
    MISMATCH = "mismatch"  # the wrong GPU was delivered
    RATE_ABOVE_PLAN = "rate_above_plan"
    PREEMPTED = "preempted"  # the instance is gone and we did not end it
    UNREACHABLE = "unreachable"
    UPLOAD_FAILED = "upload_failed"
    OUT_OF_MEMORY = "out_of_memory"
    TRAINER_CRASHED = "trainer_crashed"
    BAD_CONFIG = "bad_config"
    BAD_DATA = "bad_data"
    NO_MODEL = "no_model"
    DIVERGED = "diverged"
    DISK_FULL = "disk_full"
    UNFIT_BOX = "unfit_box"  # the machine cannot do it: no GPU, a driver too old, no disk, packages that do not install
    PULL_FAILED = "pull_failed"
    NO_OFFER_LEFT = "no_offer_left"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"


class Instance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An instance as the Observer lists it, from the cloud's own API."""

    name: str
    id: str
    ready: bool = False
    gpu: str = ""
    count: int = 0
    usd_per_hour: float = 0.0
    age_s: float | None = None  # seconds since it was made, by the cloud's own clock; None: the cloud does not say
    stopped: bool = False  # does not compute but may still bill its disk
    machine: str = ""  # the owner's machine that it is on, by the marketplace's id; empty: the cloud does not say
    heartbeat_at: float | None = None  # when a controller last spoke with it, unix seconds; None: cannot be told


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scores on held-out rows, before and after training."""

    metric: str
    rows: int
    before: float | None = None
    after: float | None = None
    gain_low: float | None = None  # 95 % bootstrap interval of after - before
    gain_high: float | None = None


class JobResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The box's last word, from ``result.json``."""

    exit_code: int
    reason: str = ""
    steps: int = 0
    training_s: float = 0.0
    tokens: int = 0
    peak_memory_bytes: int = 0
    evaluation: Evaluation | None = None


# --- commands -------------------------------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="do"):
    """Base of what the core wants done."""


class Create(Command, frozen=True, kw_only=True, tag="create"):
    """Rent the offer under this name, with a timer in the call where the cloud can carry one.

    The timer is short at first, because the rate is not read back yet; it is set to the whole life afterwards.
    """

    attempt: int
    offer: int
    name: str
    life_s: float | None  # how long it may live in all; None: free, and no deadline was asked for
    timer_s: float | None  # how long it may live if nobody ever looks at it again


class Look(Command, frozen=True, kw_only=True, tag="look"):
    """List what exists under the run's names, from the cloud's own API."""

    attempt: int
    name: str


class Arm(Command, frozen=True, kw_only=True, tag="arm"):
    """Set the deadline on an instance whose create call could not carry it."""

    attempt: int
    name: str
    life_s: float


class Upload(Command, frozen=True, kw_only=True, tag="upload"):
    """Send code, data and config; idempotent."""

    attempt: int
    name: str


class Submit(Command, frozen=True, kw_only=True, tag="submit"):
    """Start training, from the newest checkpoint at home if there is one; idempotent."""

    attempt: int
    name: str
    stop_in_s: float | None  # soft deadline, seconds from now on the box's own clock
    checkpoint_step: int  # 0: from the beginning


class Poll(Command, frozen=True, kw_only=True, tag="poll"):
    """Read the box's progress lines after ``cursor``."""

    attempt: int
    name: str
    cursor: int


class FetchCheckpoint(Command, frozen=True, kw_only=True, tag="fetch_checkpoint"):
    """Bring the newest complete checkpoint home and verify it."""

    attempt: int
    name: str


class AskStop(Command, frozen=True, kw_only=True, tag="ask_stop"):
    """Tell the box to save and end."""

    attempt: int
    name: str
    reason: Reason


class Pull(Command, frozen=True, kw_only=True, tag="pull"):
    """Bring the adapter home and verify every hash."""

    attempt: int
    name: str


class Destroy(Command, frozen=True, kw_only=True, tag="destroy"):
    """End everything under this name, or only the instances listed in ``ids``."""

    attempt: int
    name: str
    ids: tuple[str, ...] = ()


class Doom(Command, frozen=True, kw_only=True, tag="doom"):
    """A decision without an act: this attempt ends, for this reason."""

    attempt: int
    reason: Reason


class Close(Command, frozen=True, kw_only=True, tag="close"):
    """A decision without an act: this attempt is over and its bill is known at worst."""

    attempt: int
    billed_s: float
    billed_usd: float


class Settle(Command, frozen=True, kw_only=True, tag="settle"):
    """A decision without an act: the run has ended."""

    outcome: Outcome
    reason: Reason


class Wait(Command, frozen=True, kw_only=True, tag="wait"):
    """Nothing to do for so long. Never journalled."""

    seconds: float
    why: str


class GiveUp(Command, frozen=True, kw_only=True, tag="give_up"):
    """Leave the loop without settling: the teardown is not proved. The next command goes on from here."""

    attempt: int
    why: str


class Done(Command, frozen=True, kw_only=True, tag="done"):
    """The run is settled."""


AnyCommand = (
    Create | Look | Arm | Upload | Submit | Poll | FetchCheckpoint | AskStop | Pull | Destroy | Doom | Close | Settle | Wait | GiveUp | Done
)
# what touches the world so that it must be journalled before it is done; looking and polling change nothing
EFFECTS = (Create, Arm, Upload, Submit, AskStop, Pull, Destroy, FetchCheckpoint)

# --- events ---------------------------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of what happened. ``at``: unix seconds, never earlier than the event before it."""

    at: float


class Planned(Event, frozen=True, kw_only=True, tag="planned"):
    """The first event of every run: everything that decisions rest on."""

    run: str
    installation: str
    fingerprint: str
    offers: tuple[Offer, ...]
    cap_usd: float | None
    deadline_s: float | None
    policy: Policy
    continues: str | None = None  # an earlier run whose checkpoint this one starts from
    checkpoint_step: int = 0  # step of that checkpoint


class Reoffered(Event, frozen=True, kw_only=True, tag="reoffered"):
    """What is left was planned again: from here on these are tried and no others. Attempts count offers from the first of all."""

    offers: tuple[Offer, ...]


class Intended(Event, frozen=True, kw_only=True, tag="intended"):
    """About to do this."""

    command: AnyCommand


class Concluded(Event, frozen=True, kw_only=True, tag="concluded"):
    """A decision that is its own outcome."""

    command: Doom | Close | Settle


class Created(Event, frozen=True, kw_only=True, tag="created"):
    attempt: int
    instance_id: str


class CreateFailed(Event, frozen=True, kw_only=True, tag="create_failed"):
    """``definite``: the provider said that nothing was made. Otherwise an instance may still appear."""

    attempt: int
    reason: Reason
    definite: bool
    detail: str = ""


class Seen(Event, frozen=True, kw_only=True, tag="seen"):
    """What the Observer listed under the attempt's name; empty: nothing."""

    attempt: int
    instances: tuple[Instance, ...]


class Armed(Event, frozen=True, kw_only=True, tag="armed"):
    attempt: int


class Uploaded(Event, frozen=True, kw_only=True, tag="uploaded"):
    attempt: int
    files: int
    sent_bytes: int


class Submitted(Event, frozen=True, kw_only=True, tag="submitted"):
    attempt: int
    job: str


class Progressed(Event, frozen=True, kw_only=True, tag="progressed"):
    """News from the box. ``line``: the last progress lines' digest for the views."""

    attempt: int
    cursor: int
    step: int = 0
    total_steps: int = 0
    checkpoint_step: int = 0
    latest: dict[str, Any] = {}  # msgspec copies it per instance


class JobEnded(Event, frozen=True, kw_only=True, tag="job_ended"):
    attempt: int
    result: JobResult


class JobLost(Event, frozen=True, kw_only=True, tag="job_lost"):
    """The box answers, but no supervisor runs and no result was written."""

    attempt: int


class CheckpointHome(Event, frozen=True, kw_only=True, tag="checkpoint_home"):
    """A verified checkpoint is safe outside the instance."""

    attempt: int
    step: int


class StopAsked(Event, frozen=True, kw_only=True, tag="stop_asked"):
    attempt: int


class Pulled(Event, frozen=True, kw_only=True, tag="pulled"):
    """The adapter is home and every hash matched."""

    attempt: int
    files: dict[str, str]  # relative path -> sha256


class DestroySent(Event, frozen=True, kw_only=True, tag="destroy_sent"):
    attempt: int


class Failed(Event, frozen=True, kw_only=True, tag="failed"):
    """A call did not succeed; what it meant to do may or may not have happened."""

    attempt: int
    action: str  # tag of the command
    detail: str


class StopWanted(Event, frozen=True, kw_only=True, tag="stop_wanted"):
    """A person, or the terminal, asked for the end."""

    reason: Reason


class Resumed(Event, frozen=True, kw_only=True, tag="resumed"):
    """A controller took the run over. Within one boot of the laptop, time is measured by the clock of that boot."""

    controller: str
    boot: str = ""  # identifies the laptop's boot; another one: time between the two is not known for sure
    steady_s: float = 0.0  # seconds since that boot, suspension included


AnyEvent = (
    Planned
    | Reoffered
    | Intended
    | Concluded
    | Created
    | CreateFailed
    | Seen
    | Armed
    | Uploaded
    | Submitted
    | Progressed
    | JobEnded
    | JobLost
    | CheckpointHome
    | StopAsked
    | Pulled
    | DestroySent
    | Failed
    | StopWanted
    | Resumed
)
