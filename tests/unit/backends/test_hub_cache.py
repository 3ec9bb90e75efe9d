"""The Hub client's cache is read as the client itself reads it, without loading the client."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.backends.hub import cached

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    model = tmp_path / ".cache/huggingface/hub/models--acme--small"
    (model / "refs").mkdir(parents=True)
    (model / "refs/main").write_text(COMMIT)
    (model / "snapshots" / COMMIT).mkdir(parents=True)
    (model / "snapshots" / COMMIT / "tokenizer.json").write_text("{}")
    return model


def test_what_the_client_finds_is_found(cache: Path) -> None:
    client = pytest.importorskip("huggingface_hub")
    path = client.hf_hub_download("acme/small", "tokenizer.json", local_files_only=True, cache_dir=cache.parent)
    assert cached("acme/small") == Path(path).parent


@pytest.mark.parametrize("model", ["acme/other", "acme", "../small", "acme/../../small", "acme/small/x", "acme/small\n"])
def test_what_is_not_there_is_not(cache: Path, model: str) -> None:
    assert cached(model) is None


@pytest.mark.parametrize("reference", ["", "../../..", "main", "\x00"])
def test_a_damaged_reference_leads_nowhere(cache: Path, reference: str) -> None:
    (cache / "refs/main").write_text(reference)
    assert cached("acme/small") is None


def test_the_cache_may_lie_elsewhere(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(cache.parent))
    monkeypatch.setenv("HOME", "/nowhere")
    assert cached("acme/small") is not None
