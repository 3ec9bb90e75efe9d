"""The JSON schema of the job file, for editors. Generated from the one table in ``jobspec``."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.spec.jobspec import JobSpec


def job_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``cloudtune.yaml``; unknown keys are refused, sections are inlined by reference."""
    (_,), components = msgspec.json.schema_components([JobSpec], ref_template="#/$defs/{name}")
    root = dict(components.pop("JobSpec"))
    for schema in (root, *components.values()):
        if schema.get("type") == "object" and "properties" in schema:
            schema["additionalProperties"] = False
    root |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "cloudtune.yaml", "$defs": components}
    return root
