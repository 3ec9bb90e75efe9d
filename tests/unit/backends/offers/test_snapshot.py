"""The bundled prices: what every offer must say, and the names that mislead."""

from __future__ import annotations

import math

from orchestrator.backends.offers.snapshot import snapshot, snapshot_offers
from orchestrator.plan.cards import cannot_train, card_of, usable_gib


def test_every_offer_can_be_rented_and_says_how_old_its_price_is() -> None:
    offers = snapshot_offers()
    assert len(offers) > 330
    for offer in offers:
        assert offer.backend == "skypilot" and offer.cloud and offer.instance_type and offer.count >= 1
        assert math.isfinite(offer.usd_per_hour) and offer.usd_per_hour > 0.0
        assert offer.as_of >= "2023" and offer.source
        assert offer.usable_gib > 0.0 or cannot_train(offer.gpu), f"neither memory nor a reason is known for {offer.gpu}"


def test_nothing_in_it_is_doubted_and_what_cannot_be_rented_says_why() -> None:
    assert snapshot().quarantined == ()
    reasons = {why for _, why in snapshot().left_out}
    assert any("SkyPilot" in why for why in reasons) and any("without its machine" in why for why in reasons)
    assert "jarvislabs" not in {offer.cloud for offer in snapshot_offers()}


def test_guard_and_proof_go_by_cloud() -> None:
    guards = {offer.cloud: offer.guard for offer in snapshot_offers()}
    assert guards["vast"] == guards["runpod"] == "create-time" and guards["aws"] == guards["lambda"] == "native"
    assert {guards[c] for c in ("hyperbolic", "verda", "yotta", "primeintellect")} == {"none"}
    proofs = {offer.cloud: offer.proof for offer in snapshot_offers()}
    assert {c for c, proof in proofs.items() if proof == "observed"} == {"vast", "runpod", "aws", "lambda"}


def test_a_name_that_leaves_the_card_open_means_the_lesser_one() -> None:
    assert usable_gib("vast", "A100", "1x-A100_PCIE-32-65536") < 40.0
    assert usable_gib("runpod", "A100-80GB", "1x_A100-80GB_SECURE") > 79.0
    names = {(c, t): card_of(c, "H100", t) for c, t in (("runpod", "1x_H100_SECURE"), ("lambda", "gpu_8x_h100_sxm5"),
             ("azure", "Standard_NC40ads_H100_v5"), ("vast", "1x-H100_NVL-32-65536"))}  # fmt: skip
    assert [card.name for card in names.values() if card is not None] == ["H100-PCIe", "H100", "H100-NVL", "H100-NVL"]
    assert usable_gib("aws", "T4") < 14.6 < usable_gib("aws", "V100")


def test_what_can_never_train_is_named_with_the_reason() -> None:
    for name in ("tpu-v5litepod-4", "Trainium", "MI300X", "P100", "M4000", "K80"):
        assert cannot_train(name), name
    for name in ("T4", "L4", "V100", "A100", "RTX4090", "H100"):
        assert cannot_train(name) is None, name
