"""The plugin in SkyPilot's server: the query, what comes back, the bid, the key, the end. Against the installed SkyPilot and clients."""

from __future__ import annotations

import pytest

pytest.importorskip("sky", reason="pip install 'cloudtune[sky]'")
vast_utils = pytest.importorskip("vastai.utils", reason="pip install 'cloudtune[sky]'")

from orchestrator.backends.offers.hosts import HostRules  # noqa: E402
from orchestrator.backends.skypilot.pricelist import ANYWHERE  # noqa: E402
from orchestrator.backends.skypilot.repair_runpod import bounded, refuse_dearer, with_end  # noqa: E402
from orchestrator.backends.skypilot.repair_vast import drops_filters, fitting, plain_query, without_key  # noqa: E402

# as sky/provision/vast/utils.py of 0.14.1 writes it
QUERY = 'chunked=true georegion=true geolocation="US" disk_space>=17 num_gpus=1 gpu_name="RTX 4090" cpu_ram>="16.0"'
HOST = {
    "machine_id": 1,
    "verification": "verified",
    "reliability2": 0.99,
    "inet_down": 800.0,
    "driver_version": "570.1",
    "cuda_max_good": 12.8,
    "duration": 9e6,
}
KIND = "1x-RTX_4090-8-16384"
ROWS = [
    HOST | row
    for row in [
        {"gpu_name": "A100 SXM4", "num_gpus": 1, "dph_total": 0.3},
        {"gpu_name": "RTX 4090", "num_gpus": 2, "dph_total": 0.3},
        {"gpu_name": "RTX 4090", "num_gpus": 1, "dph_total": 0.5},
        {"gpu_name": "RTX 4090", "num_gpus": 1, "dph_total": 0.34},
        {"gpu_name": "RTX 4090", "num_gpus": 1, "dph_total": 0.0},
    ]
]


def test_the_clients_grammar_still_needs_the_repair_and_takes_the_plain_query() -> None:
    assert drops_filters(vast_utils.preprocess_search_query), "the client has been repaired: the plugin can go"
    *_, asked = vast_utils.preprocess_search_query(plain_query(QUERY))
    assert [part in asked for part in ("num_gpus = 1", "gpu_name = RTX_4090", "disk_space >= 17", "cpu_ram >= 16")] == [True] * 4
    assert "chunked" not in asked


def test_a_client_that_keeps_its_filters_is_recognized() -> None:
    assert not drops_filters(lambda query: (True, False, query))


def test_only_what_was_ordered_within_its_rate_is_left() -> None:
    assert [row["dph_total"] for row in fitting(ROWS, KIND, 0.41, HostRules())] == [0.34], "a rate of 0 is no rate"
    assert fitting("an error page", KIND, 0.41, HostRules()) == []


def test_a_machine_that_failed_and_a_host_that_will_not_do_are_not_taken_at_any_price() -> None:
    row = HOST | {"gpu_name": "RTX 4090", "num_gpus": 1, "dph_total": 0.30}
    rows = [row | {"machine_id": 7}, row | {"reliability2": 0.8}, row | {"duration": 600.0}, row | {"machine_id": 8, "dph_total": 0.39}]
    unsaid = {key: value for key, value in row.items() if key != "machine_id"}
    taken = fitting([unsaid, *rows], KIND, 0.41, HostRules(struck=frozenset({"7"})))
    assert [found["machine_id"] for found in taken] == [8]


def test_the_accounts_key_stays_at_home() -> None:
    onstart = 'touch ~/.no_auto_tmux;echo "k3y" > ~/.vast_api_key;mkdir -p ~/.ssh;echo mine'
    assert without_key(onstart, "k3y") == "touch ~/.no_auto_tmux;mkdir -p ~/.ssh;echo mine"
    with pytest.raises(RuntimeError, match="not one that cloudtune knows"):
        without_key("printf %s k3y > ~/.vast", "k3y")


def test_a_pods_end_is_in_both_calls_that_make_one() -> None:
    from runpod.api.mutations.pods import generate_pod_deployment_mutation
    from sky.provision.runpod.api.pods import generate_spot_pod_deployment_mutation

    for text in (generate_pod_deployment_mutation("n", "i", "g"), generate_spot_pod_deployment_mutation("n", "i", "g", 0.2, "/v")):
        assert with_end(text, 1_800_000_000.0).count('terminateAfter: "2027-01-15T08:01:00Z"') == 1
        assert with_end(text, None) == text
    with pytest.raises(RuntimeError, match="nothing is rented"):
        with_end("mutation { another }", 1.0)


def test_the_timer_stands_before_skypilots_own_start_and_a_place_that_is_none_is_left_out() -> None:
    asked = {
        "docker_args": "bash -c 'echo eA== | base64 --decode > init.sh; bash init.sh'",
        "country_code": ANYWHERE,
        "data_center_id": ANYWHERE,
    }
    found = bounded(asked, 1_800_000_000.0)
    assert found["docker_args"].startswith("bash -c 'echo ") and found["docker_args"].endswith(
        "& echo eA== | base64 --decode > init.sh; bash init.sh'"
    )
    assert "cloudtune-life.sh 1800000000 " in found["docker_args"] and not set('"\\') & set(found["docker_args"]), (
        "it stands in a GraphQL text"
    )
    assert found["country_code"] is None and found["data_center_id"] is None
    with pytest.raises(RuntimeError, match="nothing is rented"):
        bounded({"docker_args": "sleep infinity"}, 1.0)


def test_a_pod_that_has_become_dearer_is_not_made() -> None:
    listed = {"securePrice": 0.7, "communityPrice": 0.4}
    refuse_dearer(listed, {"cloud_type": "SECURE", "gpu_count": 1}, 0.7)
    refuse_dearer(listed, {"cloud_type": "COMMUNITY", "gpu_count": 2}, 0.8)
    with pytest.raises(RuntimeError, match="could not find an offer"):
        refuse_dearer(listed, {"cloud_type": "SECURE", "gpu_count": 2}, 1.39)
