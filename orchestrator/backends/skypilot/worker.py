"""The process that imports SkyPilot (4 to 8 s, 400 MB), so that no other has to: one JSON line in, one JSON line out.

Started as ``python -P -m orchestrator.backends.skypilot.worker HOME`` with the environment of a
:class:`~orchestrator.backends.skypilot.home.SkyHome`. It holds a share of the home's server for as long as its standard
input is open, and the last to let go stops the server. Whatever SkyPilot prints goes to standard error.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from orchestrator.backends.skypilot.home import PORT_FILE, USERS_OWN, WORKER
from trainer.contract import write_atomically

USERS_LOCK = "users.lock"  # shared: somebody uses the server
START_LOCK = "start.lock"  # exclusive: it is being started or stopped
PORT_VARIABLE = "SKYPILOT_API_SERVER_LOCAL_PORT"
PORT_TRIES = 100
GONE_S = 5.0


@contextmanager
def server(home: Path | None) -> Iterator[None]:
    """The server of this home, started if nobody else uses it; stopped by the last one to leave. None: the user's own, left running."""
    if home is None:
        import sky

        sky.api_start()
        yield
        return
    users = os.open(home / USERS_LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with _alone(home):
        if _try_exclusive(users):
            _end_processes(home)
            write_atomically(home / PORT_FILE, str(_free_port()))
        fcntl.flock(users, fcntl.LOCK_SH)
        os.environ[PORT_VARIABLE] = (home / PORT_FILE).read_text(encoding="utf-8").strip()
        import sky

        sky.api_start()
    try:
        yield
    finally:
        with _alone(home):
            fcntl.flock(users, fcntl.LOCK_UN)
            if _try_exclusive(users):
                sky.api_stop()
                _end_processes(home)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """While the server is started or stopped."""
    with open(home / START_LOCK, "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _end_processes(home: Path) -> None:
    """End what a server of this home has left running, or one that was killed, half started or not. Only while nobody uses it.

    They are known by their ``HOME``, which is this one and no user's. Workers that wait for their turn are spared.
    """
    doomed = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(home) and WORKER not in process.cmdline():
                process.kill()
                doomed.append(process)
        except psutil.Error:
            continue  # another user's, or already gone
    psutil.wait_procs(doomed, timeout=GONE_S)


def _try_exclusive(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_port() -> int:
    """A port for the server, such that its own clients never take it or the one of its request queue.

    They try to connect before anybody listens, and a connection whose own port happens to be the one it asks for is made
    with itself: the server then waits for ever. Linux gives connections a port of 32768 and more, even ones first.
    So: below that, and even, because then the queue's is odd.
    """
    for _ in range(PORT_TRIES):
        port = 20000 + 2 * secrets.randbelow(6000)
        if _is_free(port) and _is_free(queue_port(port)):
            return port
    raise RuntimeError("no port is free for SkyPilot's server")


def queue_port(port: int) -> int:
    """Where the server at ``port`` has its request queue: ``sky/server/requests/queues/mp_queue.py``, get_queue_manager_port."""
    return 50000 + (11 + port - 46580) % 10000


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


# --- what can be asked ----------------------------------------------------------------------------------------------


def launch(name: str, task: dict[str, Any], idle_minutes: int, order: dict[str, str]) -> dict[str, Any]:
    """Ask for one instance; returns the request's id at once. ``order``: variables for the plugin in the server."""
    import sky

    for variable in [one for one in os.environ if one.startswith("SKYPILOT_CLOUDTUNE_")]:
        del os.environ[variable]
    os.environ.update(order)
    from sky.skylet.autostop_lib import AutostopWaitFor

    asked = sky.launch(
        sky.Task.from_yaml_config(task),
        cluster_name=name,
        down=True,
        idle_minutes_to_autostop=idle_minutes,
        wait_for=AutostopWaitFor.NONE,
        _need_confirmation=False,
    )
    return {"request": str(asked)}


def request(request_id: str) -> dict[str, Any]:
    """{"status": PENDING | RUNNING | SUCCEEDED | FAILED | CANCELLED | GONE, "error": {"type", "message"}}."""
    import sky

    found = [one for one in sky.api_status([request_id], all_status=True) if one.request_id == request_id]
    if not found:
        return {"status": "GONE"}
    answer: dict[str, Any] = {"status": found[0].status, "message": found[0].status_msg or ""}
    if found[0].status == "FAILED":
        try:
            sky.get(request_id)
        except Exception as error:
            answer["error"] = described(error)
    return answer


def cancel(request_id: str) -> dict[str, Any]:
    """End a request, whatever it is doing."""
    import sky

    sky.get(sky.api_cancel([request_id], silent=True))
    return {}


def reach(name: str) -> dict[str, Any]:
    """How the instance is reached over SSH, as SkyPilot itself would do it."""
    import sky

    listed = sky.get(sky.status([name]))
    if not listed or listed[0]["handle"] is None:
        return {"status": "GONE"}
    handle = listed[0]["handle"]
    runner = handle.get_command_runners()[0]
    known = {key: value for key, value in vars(runner).items() if isinstance(value, (str, int, float, bool)) or value is None}
    return {
        "status": str(listed[0]["status"].value),
        "autostop_minutes": listed[0]["autostop"],
        "runner": type(runner).__name__,
        "id": str(handle.cached_cluster_info.head_instance_id if handle.cached_cluster_info else ""),
        "name_on_cloud": handle.cluster_name_on_cloud,
        "attributes": known,
    }


def autostop(name: str, minutes: int) -> dict[str, Any]:
    """Set the instance's own end anew, ``minutes`` from now, and read back that it is set."""
    import sky
    from sky.skylet.autostop_lib import AutostopWaitFor

    sky.get(sky.autostop(name, minutes, wait_for=AutostopWaitFor.NONE, down=True))
    listed = sky.get(sky.status([name]))
    return {"minutes": listed[0]["autostop"] if listed else None}


def execute(name: str, command: str) -> dict[str, Any]:
    """Run a command on the instance as a job of SkyPilot's, detached."""
    import sky

    job, _ = sky.get(sky.exec(sky.Task(run=command), cluster_name=name))
    return {"job": job}


def down(name: str, purge: bool) -> dict[str, Any]:
    """End the instance and forget it."""
    import sky

    try:
        sky.get(sky.down(name, purge=purge))
    except sky.exceptions.ClusterDoesNotExist:
        return {"existed": False}
    return {"existed": True}


ASKED: dict[str, Callable[..., dict[str, Any]]] = {
    "launch": launch,
    "request": request,
    "cancel": cancel,
    "reach": reach,
    "autostop": autostop,
    "execute": execute,
    "down": down,
}


def reread_price_lists() -> None:
    """These lists are cloudtune's own and grow while this process lives; SkyPilot would read them once."""
    import pandas
    from sky.catalog import runpod_catalog, vast_catalog

    for catalog in (vast_catalog, runpod_catalog):
        frame = catalog._df
        frame._load_df = lambda frame=frame: pandas.read_csv(frame._filename)


def described(error: BaseException) -> dict[str, Any]:
    """An exception as data: its type, its words, and those of the failures that it gathers (a failover's history)."""
    history = [described(one) for one in getattr(error, "failover_history", None) or []]
    return {"type": type(error).__name__, "message": str(error), "history": history}


def main(home: Path | None) -> int:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        with server(home):
            if home is not None:
                reread_price_lists()
            say({"ready": True})
            for line in sys.stdin:
                asked = json.loads(line)
                try:
                    say({"answer": ASKED[asked.pop("do")](**asked)})
                except Exception as error:  # told to the one who asked, who decides
                    say({"error": described(error)})
    except Exception as error:
        say({"error": described(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(None if sys.argv[1] == USERS_OWN else Path(sys.argv[1])))
