"""The JSON schema accepts what the parser accepts."""

from __future__ import annotations

from pathlib import Path

from orchestrator.spec.parse import FIELDS
from orchestrator.spec.schema import job_page, job_schema


def test_every_key_is_in_the_schema_with_a_description() -> None:
    schema = job_schema()
    for key in FIELDS:
        node = schema
        for part in key:
            if "$ref" in node:
                node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
            assert node["additionalProperties"] is False
            node = node["properties"][part]
        assert node.get("description"), key
    assert schema["required"] == ["model", "dataset"]


def test_the_page_of_the_manual_is_current() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "jobfile.md"
    assert page.read_text(encoding="utf-8") == job_page(), "python -m orchestrator.spec.schema > docs/jobfile.md"
