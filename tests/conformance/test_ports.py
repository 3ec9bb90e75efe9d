"""What every backend must do behind the ports Provider, Observer, Remote and Escrow. A new backend joins ``rigs.RIGS``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.run.ports import HashMismatch, PortError
from tests.conformance.rigs import RIGS, Rig, eventually

NAME = "ct-0a1b2c-00000001-1"


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    rig = RIGS[request.param](tmp_path)
    yield rig
    rig.close()


def ready(rig: Rig) -> None:
    rig.provider.create(rig.offer, NAME, None)
    eventually(rig, lambda: any(i.ready for i in rig.observer.instances(NAME)))


def test_nothing_before_create(rig: Rig) -> None:
    assert rig.observer.instances(NAME) == () and rig.observer.everything() == ()


def test_create_is_listed_by_its_name_with_its_rate(rig: Rig) -> None:
    ready(rig)
    (instance,) = rig.observer.instances(NAME)
    assert instance.name == NAME and instance.id
    assert instance.usd_per_hour <= rig.offer.usd_per_hour
    assert instance.gpu in ("", rig.offer.gpu)
    assert [i.name for i in rig.observer.everything()] == [NAME]
    assert rig.observer.instances(NAME + "1") == (), "only exactly this name"


def test_destroy_after_a_double_create_leaves_nothing(rig: Rig) -> None:
    ready(rig)
    rig.provider.create(rig.offer, NAME, None)
    for _ in range(10):
        rig.tick()  # what was made twice, if it was, is listed by now
    rig.provider.destroy(NAME, ())
    eventually(rig, lambda: rig.observer.instances(NAME) == ())


def test_destroy_of_what_is_gone_is_fine(rig: Rig) -> None:
    rig.provider.destroy(NAME, ())
    ready(rig)
    rig.provider.destroy(NAME, ())
    rig.provider.destroy(NAME, ())
    eventually(rig, lambda: rig.observer.instances(NAME) == ())


def test_destroy_by_id_spares_others(rig: Rig) -> None:
    ready(rig)
    rig.provider.destroy("ct-0a1b2c-00000001-2", ())
    rig.provider.destroy(NAME, ("another-id",))
    rig.tick()
    assert len(rig.observer.instances(NAME)) == 1


def test_the_instance_ends_itself(rig: Rig) -> None:
    rig.provider.create(rig.offer, NAME, rig.timer_s)
    eventually(rig, lambda: rig.observer.instances(NAME))
    eventually(rig, lambda: rig.observer.instances(NAME) == ())


def test_the_timer_can_be_set_again(rig: Rig) -> None:
    rig.provider.create(rig.offer, NAME, rig.timer_s * 1000)
    eventually(rig, lambda: any(i.ready for i in rig.observer.instances(NAME)))
    rig.provider.arm(NAME, rig.timer_s)
    eventually(rig, lambda: rig.observer.instances(NAME) == ())


def test_a_job_is_heard_to_its_last_word(rig: Rig) -> None:
    ready(rig)
    files, sent_bytes = rig.remote.upload(NAME)
    assert files > 0 and sent_bytes > 0
    job = rig.remote.submit(NAME, None, None)
    assert rig.remote.submit(NAME, None, None) == job, "submitting twice starts one job"
    cursors = [0]

    def ended() -> bool:
        news = rig.remote.poll(NAME, cursors[-1])
        assert news.cursor >= cursors[-1]
        cursors.append(news.cursor)
        return news.result is not None

    eventually(rig, ended)
    result = rig.remote.poll(NAME, cursors[-1]).result
    assert result is not None, "the last word stays"
    if result.exit_code == 0:
        parcel = rig.remote.fetch(NAME, "adapter")
        assert rig.escrow.verify(parcel)
        rig.escrow.keep(parcel)


def test_a_stop_request_ends_the_job(rig: Rig) -> None:
    ready(rig)
    rig.remote.upload(NAME)
    rig.remote.submit(NAME, None, None)
    rig.remote.ask_stop(NAME)
    rig.remote.ask_stop(NAME)
    eventually(rig, lambda: rig.remote.poll(NAME, 0).result is not None)


def test_a_box_that_is_not_there_is_an_error(rig: Rig) -> None:
    for call in (
        lambda: rig.remote.submit(NAME, None, None),
        lambda: rig.remote.ask_stop(NAME),
        lambda: rig.remote.fetch(NAME, "adapter"),
        lambda: rig.remote.fetch(NAME, "checkpoint"),
    ):
        with pytest.raises(PortError):
            call()


def test_escrow_keeps_what_verifies(rig: Rig) -> None:
    assert rig.escrow.checkpoint() is None
    for step in (5, 10):
        parcel = rig.parcel("checkpoint", step, True)
        files = rig.escrow.verify(parcel)
        assert files and all(files)
        rig.escrow.keep(parcel)
    kept = rig.escrow.checkpoint()
    assert kept is not None and "10" in kept.name


@pytest.mark.parametrize("cargo", ["checkpoint", "adapter"])
def test_escrow_refuses_what_does_not_verify(rig: Rig, cargo: str) -> None:
    with pytest.raises(HashMismatch):
        rig.escrow.verify(rig.parcel("checkpoint" if cargo == "checkpoint" else "adapter", 5, False))
    assert rig.escrow.checkpoint() is None
