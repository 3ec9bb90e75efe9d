"""The JSON schema accepts what the parser accepts."""

from __future__ import annotations

from orchestrator.spec.parse import FIELDS
from orchestrator.spec.schema import job_schema


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
