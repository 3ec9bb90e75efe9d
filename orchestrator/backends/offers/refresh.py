"""Fetches prices and puts them into the cache: whole files, written aside and renamed, the one before kept. Network."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.backends.observers import runpod
from orchestrator.backends.offers.hosts import HostRules
from orchestrator.backends.offers.market import previous, price_file
from orchestrator.backends.offers.rows import COLUMNS, END
from orchestrator.backends.offers.sources import (
    CATALOG_URL,
    CATALOGS,
    RUNPOD_QUERY,
    VAST_PATH,
    VAST_QUERY,
    VAST_URL,
    BadAnswer,
    Rows,
    catalog_rows,
    runpod_rows,
    vast_rows,
)
from orchestrator.backends.offers.strikes import FILE_NAME, struck
from orchestrator.ledger.paths import private, state_dir

MARKETPLACES = ("vast", "runpod")  # their prices move by the hour, and are looked at by every plan with a network
FRESH_S = 3600.0
TIMEOUT_S = 5.0
MAX_BYTES = 64 * 1024 * 1024
Fetch = Callable[[str, bytes | None], bytes]


def fetch(address: str, body: bytes | None) -> bytes:
    """GET, or POST of JSON. Raises OSError."""
    from urllib.request import Request, urlopen

    headers = {"User-Agent": "cloudtune", "Content-Type": "application/json"}
    if address == _vast_address() and (key := _vast_key()):
        headers["Authorization"] = f"Bearer {key}"
    with urlopen(Request(address, data=body, headers=headers), timeout=TIMEOUT_S) as answer:  # noqa: S310  # https constants of sources.py
        found: bytes = answer.read(MAX_BYTES + 1)
    if len(found) > MAX_BYTES:
        raise OSError(f"{address} answered more than {MAX_BYTES} bytes")
    return found


def _vast_address() -> str:
    return os.environ.get("VAST_URL", VAST_URL).rstrip("/") + VAST_PATH


def _vast_key() -> str:
    """The key that Vast's own client would take; the search is answered without one as well, to fewer questions."""
    try:
        return os.environ.get("VAST_API_KEY", "") or (Path.home() / ".config/vastai/vast_api_key").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def refresh_stale(folder: Path, clouds: Iterable[str], now: float, *, deadline_s: float | None, get: Fetch = fetch) -> tuple[str, ...]:
    """Refresh those whose file is older than an hour, or than the newest strike; what did not work, a sentence each."""
    said = []
    for cloud in clouds:
        path = price_file(folder, cloud)
        if path.is_file() and 0.0 <= now - path.stat().st_mtime < FRESH_S and not (cloud == "vast" and _struck_since(path)):
            continue
        problem = refresh(folder, cloud, now, deadline_s=deadline_s, get=get)[1]
        if problem is not None:
            said.append(problem)
            if problem.endswith(NO_NETWORK):
                break  # the others will not answer either
    return tuple(said)


def _struck_since(path: Path) -> bool:
    """Whether a machine failed since these prices were fetched: its price may be among them."""
    strikes = state_dir() / FILE_NAME
    return strikes.is_file() and strikes.stat().st_mtime_ns > path.stat().st_mtime_ns


NO_NETWORK = "(is there a network? plan --offline does not ask)"
UNREACHABLE = 2  # sources in a row that cannot be reached: then the others are not asked


def _said(error: OSError) -> str:
    """Why a source could not be asked; a refusal of its own is no matter of the network."""
    code = getattr(error, "code", None)
    if isinstance(code, int):
        return f"it answered {code} {getattr(error, 'reason', '')}".rstrip()
    reason = getattr(error, "reason", error)
    return f"{getattr(reason, 'strerror', None) or reason} {NO_NETWORK}"


def refresh(folder: Path, cloud: str, now: float, *, deadline_s: float | None, get: Fetch = fetch) -> tuple[int, str | None]:
    """(rows written, what went wrong or None). What is in the cache stays when anything goes wrong."""
    today = datetime.fromtimestamp(now, UTC).date().isoformat()
    try:
        rows = _rows(cloud, today, now, deadline_s, get)
    except BadAnswer as error:
        return 0, f"prices of {cloud} were not refreshed: {error}"
    except OSError as error:
        return 0, f"prices of {cloud} were not refreshed: {_said(error)}"
    if not rows:
        return 0, f"prices of {cloud} were not refreshed: the answer holds no offer"
    write_prices(price_file(folder, cloud), rows)
    return len(rows), None


def _rows(cloud: str, today: str, now: float, deadline_s: float | None, get: Fetch) -> Rows:
    if cloud == "vast":
        rules = HostRules(duration_s=max(HostRules.duration_s, deadline_s or 0.0), struck=struck(state_dir(), "vast", now))
        return vast_rows(get(_vast_address(), json.dumps(VAST_QUERY).encode()), rules, today)[0]
    if cloud == "runpod":
        return runpod_rows(get(runpod.address(), json.dumps(RUNPOD_QUERY).encode()), today)
    return catalog_rows(get(CATALOG_URL.format(cloud=cloud), None), cloud, today)


def write_prices(path: Path, rows: Rows) -> None:
    """Replace a price file; the one before is kept beside it. Raises OSError."""
    private(path.parent)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    writer.writerow([END, str(len(rows)), *[""] * (len(COLUMNS) - 2)])
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())
    if path.is_file():
        os.replace(path, previous(path))
    os.replace(part, path)


def refresh_all(folder: Path, get: Fetch = fetch) -> dict[str, tuple[int, str | None]]:
    """Every source in turn: (rows, problem) by cloud. Without a network the first two are tried, and the rest is not."""
    now, found, lost = time.time(), dict[str, tuple[int, str | None]](), 0
    for cloud in (*MARKETPLACES, *CATALOGS):
        if lost == UNREACHABLE:
            found["the others"] = (0, f"prices of the others were not refreshed: not asked, as nothing can be reached {NO_NETWORK}")
            break
        found[cloud] = refresh(folder, cloud, now, deadline_s=None, get=get)
        lost = lost + 1 if (found[cloud][1] or "").endswith(NO_NETWORK) else 0
    return found
