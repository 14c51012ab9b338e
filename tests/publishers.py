"""A publisher on this machine: a real HTTP server with the publishers' layouts.

It answers ranges as a good server does; what a bad one does is planted for a path, one
misdeed for each request that comes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FIGSHARE = "/api.figshare.com/v2/articles/19228725/versions/1"
OSF = "/api.osf.io/v2/nodes/pq7vb/files/osfstorage/"
# Longer than any file here.
SIZE = 1 << 30


@dataclass
class Publisher:
    """Files by path, what was asked for, and what is to go wrong.

    A misdeed is a word: ``drop:N`` breaks off after N bytes, ``stall:N`` falls silent,
    ``short:N`` claims N bytes and sends no more, ``503`` or ``429:S`` (Retry-After) or
    any status, ``to:URL`` leads elsewhere, ``whole`` ignores ranges, ``wrong`` sends
    other bytes of that length, ``odd`` answers with another range, ``open:N`` states no
    length and ends after N bytes. ``always`` are repeated for every request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    misdeeds: dict[str, list[str]] = field(default_factory=dict)
    always: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    validators: bool = True
    pace_s: float = 0.0

    def ranges(self, path: str) -> list[str | None]:
        """Return the ranges asked for of a path, in order."""
        return [span for asked, span in self.asked if asked == path]

    def physionet(self, slug: str, files: dict[str, bytes]) -> str:
        """Lay a project out as PhysioNet does; return where its files are."""
        base = f"/physionet.org/files/{slug}/"
        lines = [f"{sha256(body)} {name}" for name, body in files.items()]
        self.files |= {base + name: body for name, body in files.items()}
        self.files[f"{base}SHA256SUMS.txt"] = "\r\n".join(lines).encode()
        return base

    def figshare(self, files: dict[str, bytes]) -> None:
        """Lay an article's version out as figshare does."""
        rows = []
        for number, (name, body) in enumerate(files.items(), start=34166160):
            self.files[f"/ndownloader.figshare.com/files/{number}"] = body
            rows.append(
                {
                    "id": number,
                    "name": name,
                    "size": len(body),
                    "is_link_only": False,
                    "computed_md5": hashlib.md5(body).hexdigest(),
                    "supplied_md5": "",
                    "download_url": f"https://ndownloader.figshare.com/files/{number}",
                }
            )
        self.files[FIGSHARE] = json.dumps({"id": 19228725, "files": rows}).encode()

    def osf(self, tree: dict[str, bytes], per_page: int = 10) -> None:
        """Lay a node out as OSF does: folders within folders, in pages."""
        folders: dict[str, list[dict[str, Any]]] = {"": []}
        for number, (path, body) in enumerate(tree.items()):
            above, _, name = path.rpartition("/")
            inside = ""
            for part in above.split("/") if above else []:
                outer, inside = inside, f"{inside}/{part}".strip("/")
                if inside not in folders:
                    folders[inside] = []
                    key = sha256(inside.encode())[:24]
                    folders[outer].append(_folder(part, key))
            self.files[f"/osf.io/download/{number:05d}/"] = body
            folders[inside].append(_file(name, number, body))
        for place, rows in folders.items():
            key = f"{sha256(place.encode())[:24]}/" if place else ""
            pages = [rows[k : k + per_page] for k in range(0, len(rows), per_page)]
            for k, page in enumerate(pages or [[]]):
                following = f"https://api.osf.io{OSF[11:]}{key}?page={k + 2}"
                document = {
                    "data": page,
                    "links": {"next": following if k + 1 < len(pages) else None},
                }
                body = json.dumps(document).encode()
                self.files[f"{OSF}{key}" + (f"?page={k + 1}" if k else "")] = body


def _folder(name: str, key: str) -> dict[str, Any]:
    href = f"https://api.osf.io{OSF[11:]}{key}/"
    return {
        "attributes": {"kind": "folder", "name": name},
        "relationships": {"files": {"links": {"related": {"href": href}}}},
    }


def _file(name: str, number: int, body: bytes) -> dict[str, Any]:
    hashes = {"sha256": sha256(body), "md5": hashlib.md5(body).hexdigest()}
    return {
        "attributes": {
            "kind": "file",
            "name": name,
            "size": len(body),
            "extra": {"hashes": hashes},
        },
        "links": {"download": f"https://osf.io/download/{number:05d}/"},
    }


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    publisher: Publisher

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._answer()

    def _answer(self) -> None:
        own = self.publisher
        path = self.path.replace("?page%5Bsize%5D=100", "")
        span = self.headers.get("Range")
        own.asked.append((path, span))
        planted = own.misdeeds.get(path) or []
        word = planted.pop(0) if planted else own.always.get(path, "")
        deed, _, value = word.partition(":")
        body = own.files.get(path)
        if deed.isdigit() or body is None:
            headers = {"Retry-After": value} if value else {}
            self._send(int(deed) if deed else 404, b"no", headers)
            return
        if deed == "to":
            self._send(302, b"", {"Location": value})
            return
        etag = f'"{own.versions.get(path, sha256(body)[:8])}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes"} if own.validators else {}
        status, start, rest = 200, 0, body
        found = re.fullmatch(r"bytes=(\d+)-", span or "")
        if found and deed != "whole" and self.headers.get("If-Range", etag) == etag:
            start, status = int(found[1]), 206
            if start >= len(body):
                self._send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            shift = 1 if deed == "odd" else 0
            span = f"{start - shift}-{len(body) - 1 - shift}"
            headers["Content-Range"] = f"bytes {span}/{len(body)}"
            rest = body[start - shift : len(body) - shift]
        if deed == "wrong":
            rest = bytes(len(rest))
        if deed == "short":
            self._send(status, rest[: int(value)], headers)
        elif deed == "open":
            self._send(status, rest[: int(value or SIZE)], headers, length=None)
        else:
            cut = int(value) if deed in ("drop", "stall") else len(rest)
            self._send(status, rest[:cut], headers, length=len(rest))
            if deed == "stall":
                time.sleep(1.5)
            self.close_connection = deed in ("drop", "stall") or self.close_connection

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        length: int | None = -1,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is None:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        for k in range(0, len(body), 4096):
            self.wfile.write(body[k : k + 4096])
            time.sleep(self.publisher.pace_s)


@contextmanager
def published() -> Iterator[Publisher]:
    """Run a publisher on loopback as long as it is needed."""
    publisher = Publisher()
    handler = type("Handler", (_Handler,), {"publisher": publisher})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    publisher.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield publisher
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def stored_rar(files: dict[str, bytes]) -> bytes:
    """Return a genuine rar (version 4) that holds files as they are, packed not."""
    parts = [b"Rar!\x1a\x07\x00", _rar_head(0x73, 0, struct.pack("<HI", 0, 0))]
    for name, body in files.items():
        known = struct.pack(
            "<IIBIIBBHI",
            *(len(body), len(body), 3, zlib.crc32(body), 0x210000, 20, 0x30),
            *(len(name.encode()), 0o100644),
        )
        parts += [_rar_head(0x74, 0x8000, known + name.encode()), body]
    return b"".join([*parts, bytes.fromhex("c43d7b00400700")])


def _rar_head(kind: int, flags: int, rest: bytes) -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head
