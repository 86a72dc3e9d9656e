"""A stand-in of the Hub on this machine: the part of its HTTP interface that an upload uses."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_standin"
USER = {"type": "user", "name": "ada", "orgs": [{"name": "lab"}], "auth": {"accessToken": {"role": "write"}}}


SILENCE = b"(silence)"


def http(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """The bytes of an answer, of which `length` bytes are announced."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Hub:
    """What the stand-in knows and was told.

    Attributes:
        user: what it says of the owner of `TOKEN`.
        files: content by repository and path.
        private: visibility by repository.
        lfs: whether weights are asked for as large files, apart from the commit.
        broken: paths that it answers with 500, or 403 for a commit.
        raw: bytes that it answers instead, by a part of the path; `SILENCE` is no answer at all.
        calls: method and path of every request.
    """

    def __init__(self) -> None:
        self.user: dict[str, Any] = USER
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.lfs = False
        self.broken = ""
        self.raw: dict[str, bytes] = {}
        self.closed = threading.Event()
        self.calls: list[str] = []
        self.url = ""


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    """A stand-in on a free port."""
    hub = Hub()
    handler = type("Handler", (Answers,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closed.set()
        server.shutdown()
        server.server_close()


class Answers(BaseHTTPRequestHandler):
    """One request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.heard()
        name = "/".join(path.split("/")[3:5])
        if path == "/api/whoami-v2":
            self.answer(self.hub.user)
        elif path.startswith("/api/models/") and name not in self.hub.files:
            self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif "/tree/" in path:
            self.answer([entry(path, content) for path, content in self.hub.files[name].items()])
        elif path.startswith("/api/models/"):
            self.answer({"id": name, "modelId": name, "private": self.hub.private[name], "sha": "0" * 40})
        else:
            self.answer({"error": f"no answer to {path}"}, 404)

    def do_POST(self) -> None:
        path, body = self.heard(), self.body()
        name = "/".join(path.split("/")[3:5])
        if path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            front = json.loads(body)["content"].split("---\n")[1]
            self.answer({"warnings": [], "errors": []}, 200 if "library_name" in front else 400)
        elif "/preupload/" in path:
            files = [(file["path"], file["path"].endswith(".safetensors")) for file in json.loads(body)["files"]]
            modes = {path: "lfs" if self.hub.lfs and large else "regular" for path, large in files}
            self.answer({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})
        elif path.endswith("/info/lfs/objects/batch"):
            self.answer({"transfer": "basic", "objects": [self.upload(each) for each in json.loads(body)["objects"]]})
        elif "/commit/" in path:
            self.commit(name, [json.loads(line) for line in body.splitlines()])
        else:
            self.answer({"error": f"no answer to {path}"}, 404)

    def do_PUT(self) -> None:
        path, body = self.heard(authorized=False), self.body()
        self.hub.large[hashlib.sha256(body).hexdigest()] = body
        assert path == f"/large/{hashlib.sha256(body).hexdigest()}"
        self.answer({})

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization', self.hub.user['name'])}/{asked['name']}"
        known = name in self.hub.files
        self.hub.files.setdefault(name, {".gitattributes": b""})
        self.hub.private.setdefault(name, bool(asked.get("private") or asked.get("visibility") == "private"))
        self.answer({"url": f"{self.hub.url}/{name}", "name": name, "id": name}, 409 if known else 200)

    def upload(self, file: dict[str, Any]) -> dict[str, Any]:
        return {**file, "actions": {"upload": {"href": f"{self.hub.url}/large/{file['oid']}", "header": {}}}}

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        files = self.hub.files[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.answer({"commitUrl": f"{self.hub.url}/{name}/commit/1", "commitOid": "1" * 40, "success": True})

    def heard(self, authorized: bool = True) -> str:
        """The path of the request, noted; without the token it is refused, and broken ones fail."""
        path = self.path.partition("?")[0]
        self.hub.calls.append(f"{self.command} {path}")
        if self.hub.broken and self.hub.broken in path:
            self.body()
            self.answer({"error": "the stand-in is broken here"}, 403)
            raise ConnectionAbortedError
        for part, data in self.hub.raw.items():
            if part in path:
                self.answer_raw(data)
        if authorized and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.body()
            self.answer({"error": "Invalid username or password."}, 401)
            raise ConnectionAbortedError
        return path

    def answer_raw(self, data: bytes) -> None:
        """Send bytes as they are and close the connection, or never send any."""
        self.close_connection = True
        self.body()
        if data == SILENCE:
            self.hub.closed.wait(60)
        with contextlib.suppress(OSError):  # the client may have left
            self.wfile.write(data.replace(b"{token}", self.headers.get("Authorization", "").encode()))
        raise ConnectionAbortedError

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": len(data), **(headers or {})}.items():
            self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(data)

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionAbortedError):  # answered already
            super().handle_one_request()

    def log_message(self, *_: Any) -> None:
        """Silence."""


def entry(path: str, content: bytes) -> dict[str, Any]:
    """A file of a repository as its tree lists it."""
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
