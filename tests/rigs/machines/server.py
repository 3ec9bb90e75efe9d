"""An emulated API over HTTP: on loopback for clients beside the rig, on a Unix socket for the instances, whose network is their own."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from tests.rigs.machines import control
from tests.rigs.machines.image import Image
from tests.rigs.machines.provider import Provider

Answer = dict[str, Any] | list[Any]


class Api(Protocol):
    """One provider's calls."""

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any], key: str) -> tuple[int, Answer]: ...


def handler_for(api: Api, log: Callable[[str], None]) -> type[BaseHTTPRequestHandler]:
    """http.server's handler over the API; the log has every call, no key."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "client"  # a Unix socket has no address

        def log_message(self, *_args: object) -> None:
            return

        def go(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            url = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            body = json.loads(self.rfile.read(length) or b"{}")
            key = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or query.get("api_key", "")
            status, answer = api.answer(self.command, url.path, query, body, key)
            log(f"{self.command} {url.path} -> {status}")
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
            except BrokenPipeError:
                log(f"{self.command} {url.path}: the client was gone before the answer")  # an instance that destroyed itself

    for method in ("GET", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.go)
    return Handler


class UnixHttpServer(ThreadingHTTPServer):
    """The same API for the instances."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "api", 0


def serve(folder: Path, port: int, kind: type[Provider[Any]], api_of: Callable[[Any, Callable[[str], None]], Api]) -> None:
    """Serve until SIGTERM. As process 1 of its pid namespace its end is every machine's end."""
    settings = json.loads((folder / "settings.json").read_text())
    started = time.time()
    stream = (folder / "emulator.log").open("a", buffering=1)

    def log(text: str) -> None:
        print(f"{time.time() - started:8.2f} {text}", file=stream)

    baked = Image(folder=Path(settings["image"]), python=settings["python"])
    cloud = kind(folder=folder / "machines", baked=baked, account_key=settings["api_key"], api_socket=folder / "api.sock", log=log)
    handler = handler_for(api_of(cloud, log), log)
    inside = UnixHttpServer(str(folder / "api.sock"), handler)  # type: ignore[arg-type]  # an address is a path here
    outside = ThreadingHTTPServer(("127.0.0.1", port), handler)
    side_door = control.Server(folder / "control.sock", cloud)
    for server in (inside, outside, side_door):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    (folder / "ready").touch()
    stop.wait()
