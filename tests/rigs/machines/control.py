"""The rig's side door into an emulator: one JSON line in, one out, over a Unix socket that only root can open. No client knows of it."""

from __future__ import annotations

import json
import socket
import socketserver
from pathlib import Path
from typing import Any

from tests.rigs.machines.provider import Provider, Refused


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers {"do": what, ...} by the provider's `act`."""

    daemon_threads = True

    def __init__(self, path: Path, cloud: Provider[Any]) -> None:
        super().__init__(str(path), _Handler)
        self.cloud = cloud


class _Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        try:
            answer: dict[str, Any] = {"answer": self.server.cloud.act(request.pop("do"), request)}
        except (ValueError, TypeError, KeyError, Refused) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def ask(path: Path, do: str, **arguments: Any) -> Any:
    """What the emulator answers. Raises RuntimeError with what it refused."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
        with client.makefile() as file:
            answer = json.loads(file.readline())
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["answer"]
