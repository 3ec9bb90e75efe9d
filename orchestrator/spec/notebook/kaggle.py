"""Kaggle's paths: which data set, competition or model a path under /kaggle/input is, and how to get it. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from .tables import HUB

INPUT: Final = "/kaggle/input/"
_FRAMEWORKS: Final = frozenset([
    "transformers", "pytorch", "keras", "jax", "flax", "tensorflow", "tensorflow2", "gguf", "gemma-cpp", "other", "onnx", "safetensors",
])  # fmt: skip
_SAFE: Final = re.compile(r"[\w.-]+")


def parts_of(path: str) -> list[str] | None:
    """The pieces after /kaggle/input/, or None when the path is none of Kaggle's. `kaggle:owner/model/…` is not a path."""
    for prefix in (INPUT, "../input/", "/kaggle/working/../input/"):
        if path.startswith(prefix):
            pieces = [one for one in path[len(prefix) :].split("/") if one not in ("", ".")]
            return pieces if pieces and ".." not in pieces and all(_SAFE.fullmatch(one) for one in pieces[:5]) else None
    return None


def model_of(path: str) -> dict[str, Any] | None:
    """The Kaggle model at a path: owner (None in older paths), model, framework, variation, version."""
    if path.startswith("kaggle:"):
        pieces = path[len("kaggle:") :].split("/")
        if 4 <= len(pieces) <= 5:
            return dict(zip(("owner", "model", "framework", "variation", "version"), [*pieces, None][:5], strict=True))
        return None
    found = parts_of(path)
    if found is None:
        return None
    owner = None
    if found[0] == "models" and len(found) >= 5:
        owner, found = found[1], found[2:]
    if len(found) >= 3 and found[1].lower() in _FRAMEWORKS:
        version = found[3] if len(found) > 3 else None
        return {"owner": owner, "model": found[0], "framework": found[1], "variation": found[2], "version": version}
    return None


def hub_id(model: str) -> str | None:
    """The Hub repository of a model: itself when it is one, the same weights for a Kaggle path of the table, else None."""
    found = model_of(model)
    if found is not None:
        return HUB.get((str(found["model"]).lower(), str(found["variation"]).lower()))
    if re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", model) and not model.startswith((".", "/")) and not model.startswith("kaggle:"):
        return model
    return None


def how_to_get(path: str, key: str) -> dict[str, Any] | None:
    """What a Kaggle path is and the command that downloads it; None for any other path."""
    model = model_of(path)
    if model is not None:
        owner = model["owner"] or "OWNER"
        handle = "/".join(str(one) for one in (owner, model["model"], model["framework"], model["variation"], model["version"] or 1))
        return {
            "key": key, "path": path, "kind": "model", "id": handle if model["owner"] else None,
            "command": f"kaggle models instances versions download {handle}",
        }  # fmt: skip
    found = parts_of(path)
    if found is None:
        return None
    if found[0] == "datasets" and len(found) >= 3:
        handle = f"{found[1]}/{found[2]}"
        return {"key": key, "path": path, "kind": "dataset", "id": handle, "command": f"kaggle datasets download -d {handle} --unzip"}
    if found[0] == "competitions" and len(found) >= 2:
        return {"key": key, "path": path, "kind": "competition", "id": found[1], "command": f"kaggle competitions download -c {found[1]}"}
    slug = found[0]
    return {
        "key": key, "path": path, "kind": "dataset or competition", "id": slug,
        "command": f"kaggle datasets download -d OWNER/{slug} --unzip",
        "hint": f"the path does not say whose it is: kaggle datasets list -s {slug}; a competition: kaggle competitions download -c {slug}",
    }  # fmt: skip
