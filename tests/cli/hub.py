"""A Hub on the loopback for one data set, one gated and no other: ``python hub.py FOLDER`` prints its port."""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SHA = "a" * 40
FOLDER = Path(sys.argv[1])


class Hub(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if "gated" in parts:
            return self.send(403, b'{"error": "gated"}', {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        if "reviews" not in parts:
            return self.send(404, b'{"error": "not found"}', {"X-Error-Code": "RepoNotFound"})
        if parts[:2] == ["api", "datasets"] and "tree" in parts:
            found = sorted(p for p in FOLDER.rglob("*") if p.is_file())
            tree = [{"type": "file", "path": p.relative_to(FOLDER).as_posix(), "size": p.stat().st_size, "oid": _oid(p)} for p in found]
            return self.send(200, json.dumps(tree).encode())
        if parts[:2] == ["api", "datasets"]:
            files = [
                {"rfilename": p.relative_to(FOLDER).as_posix(), "size": p.stat().st_size} for p in sorted(FOLDER.rglob("*")) if p.is_file()
            ]
            return self.send(
                200, json.dumps({"id": "acme/reviews", "sha": SHA, "siblings": files, "private": False, "gated": False}).encode()
            )
        path = FOLDER / "/".join(parts[5:])
        if not path.is_file():
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = path.read_bytes()
        return self.send(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": SHA})

    def send(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


def _oid(path: Path) -> str:
    """As git names a file's content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    print(server.server_port, flush=True)
    server.serve_forever()
