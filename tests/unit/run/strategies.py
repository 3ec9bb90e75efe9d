"""Hypothesis strategies for every event, in any order and with any values that decode."""

from __future__ import annotations

from hypothesis import strategies as st

from orchestrator.plan.budget import Policy
from orchestrator.plan.offers import Offer
from orchestrator.run import events as ev

times = st.floats(0, 1e6, allow_nan=False)
attempts = st.integers(0, 4)
names = st.sampled_from(["ct-i-r-1", "ct-i-r-2", "x"])
reasons = st.sampled_from(list(ev.Reason))
steps = st.integers(0, 50)
rates = st.sampled_from([0.0, 0.2, 0.5, 2.0])
offers = st.builds(
    Offer,
    backend=st.just("simulated"),
    cloud=st.just("c"),
    gpu=st.sampled_from(["T4", "A100"]),
    count=st.just(1),
    usable_gib=st.sampled_from([14.0, 79.0]),
    usd_per_hour=rates,
    guard=st.sampled_from(["create-time", "native", "none"]),
    expected_s=st.none() | st.floats(0, 1e5),
)
instances = st.builds(
    ev.Instance,
    name=names,
    id=st.sampled_from(["i1", "i2"]),
    ready=st.booleans(),
    gpu=st.sampled_from(["", "T4", "A100"]),
    count=st.just(1),
    usd_per_hour=rates,
    age_s=st.none() | st.floats(0, 1e5),
)
results = st.builds(
    ev.JobResult,
    exit_code=st.sampled_from([0, 1, 2, 3, 4, 10, 20, 21, 22, 23, 99]),
    steps=steps,
    evaluation=st.none() | st.just(ev.Evaluation(metric="accuracy", rows=1, before=0.0, after=1.0)),
)
lives = st.none() | st.floats(0, 1e5)
effects = st.one_of(
    st.builds(ev.Create, attempt=attempts, offer=st.integers(0, 3), name=names, life_s=lives, timer_s=lives),
    st.builds(ev.Arm, attempt=attempts, name=names, life_s=st.floats(0, 1e5)),
    st.builds(ev.Upload, attempt=attempts, name=names),
    st.builds(ev.Submit, attempt=attempts, name=names, stop_in_s=lives, checkpoint_step=steps),
    st.builds(ev.AskStop, attempt=attempts, name=names, reason=reasons),
    st.builds(ev.Pull, attempt=attempts, name=names),
    st.builds(ev.FetchCheckpoint, attempt=attempts, name=names),
    st.builds(ev.Destroy, attempt=attempts, name=names, ids=st.sampled_from([(), ("i1",)])),
)
decisions = st.one_of(
    st.builds(ev.Doom, attempt=attempts, reason=reasons),
    st.builds(ev.Close, attempt=attempts, billed_s=times, billed_usd=rates),
    st.builds(ev.Settle, outcome=st.sampled_from(list(ev.Outcome)), reason=reasons),
)
planned = st.builds(
    ev.Planned,
    at=times,
    run=st.just("r"),
    installation=st.just("i"),
    fingerprint=st.just("f"),
    offers=st.lists(offers, max_size=3).map(tuple),
    cap_usd=st.none() | rates,
    deadline_s=st.none() | st.floats(0, 1e5),
    policy=st.just(Policy()),
    checkpoint_step=steps,
)
by_kind: dict[type[ev.Event], st.SearchStrategy[ev.Event]] = {
    ev.Reoffered: st.builds(ev.Reoffered, at=times, offers=st.lists(offers, max_size=2).map(tuple)),
    ev.Intended: st.builds(ev.Intended, at=times, command=effects),
    ev.Concluded: st.builds(ev.Concluded, at=times, command=decisions),
    ev.Created: st.builds(ev.Created, at=times, attempt=attempts, instance_id=st.just("i1")),
    ev.CreateFailed: st.builds(ev.CreateFailed, at=times, attempt=attempts, reason=reasons, definite=st.booleans()),
    ev.Seen: st.builds(ev.Seen, at=times, attempt=attempts, instances=st.lists(instances, max_size=2, unique_by=lambda i: i.id).map(tuple)),
    ev.Armed: st.builds(ev.Armed, at=times, attempt=attempts),
    ev.Uploaded: st.builds(ev.Uploaded, at=times, attempt=attempts, files=steps, sent_bytes=steps),
    ev.Submitted: st.builds(ev.Submitted, at=times, attempt=attempts, job=st.just("j")),
    ev.Progressed: st.builds(ev.Progressed, at=times, attempt=attempts, cursor=steps, step=steps, total_steps=steps, checkpoint_step=steps, latest=st.just({"loss": 1.0})),
    ev.JobEnded: st.builds(ev.JobEnded, at=times, attempt=attempts, result=results),
    ev.JobLost: st.builds(ev.JobLost, at=times, attempt=attempts),
    ev.CheckpointHome: st.builds(ev.CheckpointHome, at=times, attempt=attempts, step=steps),
    ev.StopAsked: st.builds(ev.StopAsked, at=times, attempt=attempts),
    ev.Pulled: st.builds(ev.Pulled, at=times, attempt=attempts, files=st.just({"a": "b"})),
    ev.DestroySent: st.builds(ev.DestroySent, at=times, attempt=attempts),
    ev.Failed: st.builds(ev.Failed, at=times, attempt=attempts, action=st.sampled_from(["poll", "look", "upload", "pull", "destroy", "arm"]), detail=st.just("d")),
    ev.StopWanted: st.builds(ev.StopWanted, at=times, reason=reasons),
    ev.Resumed: st.builds(ev.Resumed, at=times, controller=st.just("c"), boot=st.sampled_from(["", "b1", "b2"])),
}  # fmt: skip
news = st.one_of(*by_kind.values())
