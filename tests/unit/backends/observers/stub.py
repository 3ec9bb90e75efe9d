"""A cloud's API on this machine: it answers what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "sk_live_0123456789abcdefSECRET"


@dataclass
class Cloud:
    address: str = ""
    document: Any = None  # answered as JSON, unless raw is set
    raw: bytes | None = None
    status: int = 200
    now: float = 0.0  # by this cloud's clock; 0: this machine's
    headers: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.0  # before each byte of the answer
    asked: list[tuple[str, str, str, bytes]] = field(default_factory=list)  # method, path, Authorization, body


@contextmanager
def running() -> Iterator[Cloud]:
    cloud, over = Cloud(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            cloud.asked.append((self.command, self.path, self.headers.get("Authorization") or "", body))
            answer = json.dumps(cloud.document).encode() if cloud.raw is None else cloud.raw
            self.send_response_only(cloud.status)
            self.send_header("Date", formatdate(cloud.now or time.time(), usegmt=True))
            self.send_header("Content-Length", str(len(answer)))
            for name, value in cloud.headers.items():
                self.send_header(name, value)
            self.end_headers()
            for byte in answer if cloud.pause_s else ():
                if over.wait(cloud.pause_s):
                    return
                self.wfile.write(bytes([byte]))
            if not cloud.pause_s:
                self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            return None

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the one who asked has gone

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    cloud.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield cloud
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
