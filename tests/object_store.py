"""As much of Google Cloud Storage's JSON API as gcsfs and TensorStore ask of it, in memory.

Objects have generations, and conditions on them hold, since that is what checkpoints rest on.
Source: https://cloud.google.com/storage/docs/json_api/v1
"""

import base64
import email
import hashlib
import http.server
import itertools
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any, NamedTuple

OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)$")
REWRITE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)$")
MOVE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/moveTo/o/([^/]+)$")
LIST = re.compile(r"/storage/v1/b/([^/]+)/o/?$")
UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o/?$")
BUCKET = re.compile(r"/storage/v1/b/([^/]+)/?$")


class Stored(NamedTuple):
    """An object."""

    generation: int
    content: bytes


class StoreError(Exception):
    """An answer that is an error's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Store(http.server.ThreadingHTTPServer):
    """A store with one empty bucket, `bucket`, on a free port of this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.objects: dict[str, Stored] = {}
        self.unfinished: dict[str, bytearray] = {}
        self.generations = itertools.count(1)
        self.lock = threading.RLock()

    @property
    def address(self) -> str:
        """As a URL."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def get(self, name: str, query: dict[str, str]) -> Stored:
        """Returns an object, if the conditions hold."""
        with self.lock:
            found = self.objects.get(name)
            self._check(found, query)
            if found is None:
                raise StoreError(404, f"no such object: {name}")
            return found

    def put(self, name: str, content: bytes, query: dict[str, str]) -> dict[str, Any]:
        """Writes an object, if the conditions hold, and returns what there is to say of it."""
        with self.lock:
            self._check(self.objects.get(name), query)
            self.objects[name] = Stored(next(self.generations), content)
            return self.described(name)

    def delete(self, name: str, query: dict[str, str]) -> None:
        """Deletes an object, if the conditions hold."""
        with self.lock:
            self.get(name, query)
            del self.objects[name]

    def described(self, name: str) -> dict[str, Any]:
        """Returns an object's resource."""
        generation, content = self.objects[name]
        return {
            "kind": "storage#object",
            "id": f"bucket/{name}/{generation}",
            "name": name,
            "bucket": "bucket",
            "generation": str(generation),
            "metageneration": "1",
            "size": str(len(content)),
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "timeCreated": "2026-01-01T00:00:00.000Z",
            "updated": "2026-01-01T00:00:00.000Z",
        }

    def listed(self, query: dict[str, str]) -> dict[str, Any]:
        """Returns what begins with a prefix; of deeper ones, up to the delimiter, the beginning."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        items, folders = [], set()
        with self.lock:
            for name in sorted(self.objects):
                if not name.startswith(prefix) or name < query.get("startOffset", ""):
                    continue
                if query.get("endOffset") and name >= query["endOffset"]:
                    continue
                rest = name[len(prefix) :]
                if delimiter and delimiter in rest:
                    folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                else:
                    items.append(self.described(name))
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)}

    def _check(self, found: Stored | None, query: dict[str, str]) -> None:
        generation = str(found.generation if found else 0)
        if query.get("ifGenerationMatch", generation) != generation:
            raise StoreError(412, "conditionNotMet")
        if query.get("ifGenerationNotMatch") == generation and found:
            raise StoreError(304, "not modified")


class _Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept

    @property
    def store(self) -> Store:
        """The store that answers."""
        assert isinstance(self.server, Store)
        return self.server

    def _respond(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._body = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            self._route(url.path, query)
        except StoreError as error:
            problem = {"error": {"code": error.status, "message": str(error)}}
            self._json(problem, error.status)

    do_GET = do_POST = do_PUT = do_DELETE = _respond  # noqa: N815, the base class's names

    def _route(self, path: str, query: dict[str, str]) -> None:
        store = self.store
        if path == "/batch/storage/v1":
            return self._batch()
        if found := REWRITE.match(path):
            source, target = (urllib.parse.unquote(found[k]) for k in (2, 4))
            resource = store.put(target, store.get(source, {}).content, {})
            return self._json({"done": True, "resource": resource, **resource})
        if found := MOVE.match(path):
            source, target = (urllib.parse.unquote(found[k]) for k in (2, 3))
            resource = store.put(target, store.get(source, {}).content, {})
            store.delete(source, {})
            return self._json(resource)
        if found := UPLOAD.match(path):
            return self._upload(query)
        if found := LIST.match(path):
            _check_bucket(found[1])
            return self._json(store.listed(query))
        if found := BUCKET.match(path):
            _check_bucket(found[1])
            return self._json({"kind": "storage#bucket", "name": found[1]})
        if not (found := OBJECT.match(path)):
            raise StoreError(404, f"nothing at {path}")
        _check_bucket(found[1])
        name = urllib.parse.unquote(found[2])
        if self.command == "DELETE":
            store.delete(name, query)
            return self._send(b"", 204)
        stored = store.get(name, query)
        if query.get("alt") == "media" or path.startswith("/download"):
            return self._content(stored)
        return self._json(store.described(name))

    def _content(self, stored: Stored) -> None:
        headers, content = {"x-goog-generation": str(stored.generation)}, stored.content
        wanted = re.match(r"bytes=(\d*)-(\d*)$", self.headers.get("Range") or "")
        if not wanted or not content:
            return self._send(content, 200, **headers)
        if not wanted[1]:  # the last so many
            first, last = max(0, len(content) - int(wanted[2])), len(content) - 1
        else:
            first = int(wanted[1])
            last = min(int(wanted[2] or len(content) - 1), len(content) - 1)
        if first >= len(content):
            raise StoreError(416, "nothing there")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self._send(content[first : last + 1], 206, **headers)

    def _upload(self, query: dict[str, str]) -> None:
        store = self.store
        kind, name = query.get("uploadType"), query.get("name", "")
        if kind == "media":
            return self._json(store.put(name, self._body, query))
        if kind == "multipart":
            about, content = _parts(self.headers["Content-Type"], self._body)
            return self._json(store.put(json.loads(about)["name"], content, query))
        if "upload_id" not in query:  # a resumable one begins
            upload = f"{next(store.generations)}"
            store.unfinished[upload] = bytearray()
            name = name or json.loads(self._body)["name"]
            again = urllib.parse.urlencode({**query, "name": name, "upload_id": upload})
            place = f"{store.address}/upload/storage/v1/b/bucket/o?{again}"
            return self._send(b"{}", 200, Location=place)
        received = store.unfinished[query["upload_id"]]
        received += self._body
        if (self.headers.get("Content-Range") or "/*").endswith("/*"):  # there is more to come
            return self._send(b"", 308, Range=f"bytes=0-{len(received) - 1}")
        return self._json(store.put(name, bytes(received), query))

    def _batch(self) -> None:
        """Deletes many objects: a request each, in one of many parts."""
        answers = []
        for part in _parts(self.headers["Content-Type"], self._body):
            request = re.search(rb"DELETE (\S+)", part)
            assert request, part
            found = OBJECT.match(urllib.parse.urlsplit(request[1].decode()).path)
            assert found, part
            try:
                self.store.delete(urllib.parse.unquote(found[2]), {})
                status = "204 No Content"
            except StoreError as error:
                status = f"{error.status} {error}"
            answers.append(
                "--batch\r\nContent-Type: application/http\r\n\r\n"
                f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n\r\n"
            )
        content = "".join(answers) + "--batch--\r\n"
        kind = {"Content-Type": "multipart/mixed; boundary=batch"}
        return self._send(content.encode(), 200, **kind)

    def _json(self, content: dict[str, Any], status: int = 200) -> None:
        is_empty = status in (204, 304)
        kind = {"Content-Type": "application/json"}
        self._send(b"" if is_empty else json.dumps(content).encode(), status, **kind)

    def _send(self, content: bytes, status: int, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, the base class's name
        """Says nothing."""


def _check_bucket(name: str) -> None:
    if name != "bucket":
        raise StoreError(404, f"The specified bucket does not exist: {name}")


def _parts(kind: str, body: bytes) -> Iterator[bytes]:
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    for part in message.walk():
        if not part.is_multipart():
            yield part.get_payload(decode=True)  # pyright: ignore[reportReturnType]
