"""A server on this machine that speaks the protocol of the Hugging Face hub, for downloads.

Its headers are those that huggingface_hub reads: the commit, and of a large file the checksum and
the size behind a redirection.
"""

import contextlib
import dataclasses
import hashlib
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

COMMIT = "c" * 40
_LARGE = 1 << 12  # bytes, from which on a file has a SHA-256


@dataclasses.dataclass
class Hub:
    """What the server has, and what it was asked.

    Attributes:
        repositories: content of files, by repository and name.
        gated: repositories whose licence must be accepted: only this token may read them.
        branches: names of revisions of every repository.
        cut: bytes after which a download ends.
        stated: a checksum to state of every large file; empty: the true one.
        asked: requests, as in `GET /timm/x/resolve/main/config.json`.
    """

    repositories: dict[str, dict[str, bytes]]
    gated: dict[str, str] = dataclasses.field(default_factory=dict)
    branches: tuple[str, ...] = ("main",)
    cut: int | None = None
    stated: str = ""
    asked: list[str] = dataclasses.field(default_factory=list)
    address: str = ""


@contextlib.contextmanager
def connected(monkeypatch: Any, cache: pathlib.Path, hub: Hub) -> Iterator[Hub]:
    """Runs the server, and makes it the hub of this process.

    Args:
        monkeypatch: pytest's, which undoes it.
        cache: a folder for what is downloaded.
        hub: what the server has.
    """
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with serving(hub) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Runs the server as long as the block lasts."""

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # the parameter's name
        self.hub.asked.append(f"{self.command} {self.path}")

    def do_HEAD(self) -> None:  # the method's name
        self.do_GET()

    def do_GET(self) -> None:  # likewise
        path = self.path.partition("?")[0].strip("/").split("/")
        if path[:2] == ["api", "models"]:
            self._api(path[2:])
        elif path[0] == "blobs":
            self._send(200, self._content(path[1:]), {})
        elif path[2:3] == ["resolve"]:
            self._resolve("/".join(path[:2]), path[3], "/".join(path[4:]))
        else:
            self._refuse(404, "RepoNotFound")

    def _resolve(self, name: str, revision: str, file: str) -> None:
        commit = {"X-Repo-Commit": COMMIT}
        if name not in self.hub.repositories:
            return self._refuse(401, "RepoNotFound")
        token = self.hub.gated.get(name)
        if token and self.headers.get("authorization") != f"Bearer {token}":
            return self._refuse(403, "GatedRepo")
        if revision not in (*self.hub.branches, COMMIT):
            return self._refuse(404, "RevisionNotFound")
        content = self.hub.repositories[name].get(file)
        if content is None:
            return self._refuse(404, "EntryNotFound", commit)
        if len(content) < _LARGE:
            stated = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self._send(200, content, {**commit, "ETag": f'"{stated}"'})
        stated = self.hub.stated or hashlib.sha256(content).hexdigest()
        linked = {"X-Linked-Etag": f'"{stated}"', "X-Linked-Size": str(len(content))}
        # another host, as of the hub's storage: one of the same name would be asked for the headers
        where = f"{self.hub.address.replace('127.0.0.1', 'localhost')}/blobs/{name}/{file}"
        return self._send(302, b"", {**commit, **linked, "Location": where})

    def _api(self, path: list[str]) -> None:
        name = "/".join(path[:2])
        if not path:
            owner = self.path.partition("author=")[2].partition("&")[0]
            known = [x for x in self.hub.repositories if x.startswith(f"{owner}/")]
            return self._json([{"id": x, "modelId": x} for x in known])
        if name not in self.hub.repositories:
            return self._refuse(401, "RepoNotFound")
        if path[2:] == ["refs"]:
            refs = [
                {"name": x, "ref": f"refs/heads/{x}", "targetCommit": COMMIT}
                for x in self.hub.branches
            ]
            return self._json({"branches": refs, "tags": [], "converts": []})
        if path[2:3] == ["tree"]:
            files = self.hub.repositories[name]
            return self._json(
                [
                    {"type": "file", "path": x, "size": len(content), "oid": "0" * 40}
                    for x, content in files.items()
                ]
            )
        siblings = [{"rfilename": x} for x in self.hub.repositories[name]]
        return self._json({"id": name, "sha": COMMIT, "siblings": siblings})

    def _content(self, path: list[str]) -> bytes:
        return self.hub.repositories["/".join(path[:2])]["/".join(path[2:])]

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, b"", {"X-Error-Code": code, **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        if self.hub.cut is not None and self.path.startswith("/blobs/"):
            content = content[: self.hub.cut]
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
