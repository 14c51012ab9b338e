"""Public weights come from a hub or an address, are checked, or are refused in words.

A server on this machine plays both.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from eegfm_bench.cli import weights as verb
from eegfm_bench.errors import UnknownName, WeightsError
from eegfm_bench.models._spec import ModelSpec, find_model
from eegfm_bench.models._weights import PublicWeights, Weights
from eegfm_bench.weights import find
from eegfm_bench.weights.files import WeightsFile
from eegfm_bench.weights.find import entry_of, in_cache, resolve

DATA = b"pretend these are weights" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
GIT_BLOB = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest()
COMMIT = "a" * 40


class Server:
    """Answers every path with one file, in the way asked for."""

    def __init__(self) -> None:
        self.mood = "well"
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                self.answer(with_body=True)

            def answer(self, *, with_body: bool) -> None:
                outer.asked.append(f"{self.command} {self.path}")
                status, code = {
                    "absent": (404, "EntryNotFound"),
                    "no repository": (401, "RepoNotFound"),
                    "gated": (401, "GatedRepo"),
                    "busy": (503, ""),
                }.get(outer.mood, (200, ""))
                body = DATA if status == 200 else b""
                self.send_response(status)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{SHA256}"')
                if code:
                    self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    cut = len(body) // 2 if outer.mood == "drops" else len(body)
                    self.wfile.write(body[:cut])
                    self.wfile.flush()
                    self.close_connection = True

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setenv("EEGFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(find, "WAIT_S", 0.0)
    yield server
    server.close()


def plain(server: Server, **facts: Any) -> ModelSpec:
    """Return a family whose weights are at a plain address."""
    entry = PublicWeights(
        key="base",
        file="checkpoints/base.pth",
        url=f"{server.url}/raw/base.pth",
        layout="own",
        licence="MIT",
        source="this test",
        **facts,
    )
    return replace(find_model("labram"), weights=Weights(public=(entry,)))


def on_hub(**facts: Any) -> ModelSpec:
    """Return a family whose weights are on the hub."""
    entry = PublicWeights(
        key="base",
        hub="someone/labram",
        file="model.safetensors",
        layout="own",
        licence="MIT",
        source="this test",
        channels=("C3",),
        **facts,
    )
    return replace(find_model("labram"), weights=Weights(public=(entry,)))


def refused(spec: ModelSpec, given: str = "hub") -> str:
    with pytest.raises(WeightsError) as caught:
        resolve(spec, given)
    return str(caught.value)


def test_a_path_is_taken_as_it_is_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(DATA)
    assert resolve(find_model("trace"), str(file)) == file
    said = refused(find_model("trace"), str(tmp_path / "b.pth"))
    assert "b.pth: there is no such file or folder" in said


def test_a_model_without_public_weights_and_an_unknown_key_are_refused(
    server: Server,
) -> None:
    assert "no public weights of trace are known" in refused(find_model("trace"))
    with pytest.raises(UnknownName, match="Did you mean 'base'"):
        resolve(plain(server), "hub:bas")
    assert server.asked == []


def test_a_plain_address_is_asked_once_and_the_file_is_kept_in_the_cache(
    server: Server, tmp_path: Path
) -> None:
    spec = plain(server, git_blob=GIT_BLOB)
    assert in_cache(spec, spec.weights.public[0]) is None
    path = resolve(spec, "hub")
    assert path == tmp_path / "cache/weights/labram/base/base.pth"
    assert path.read_bytes() == DATA
    assert resolve(spec, "hub:base") == path == in_cache(spec, spec.weights.public[0])
    assert server.asked == ["GET /raw/base.pth"]
    assert [p.name for p in path.parent.iterdir()] == ["base.pth"]


@pytest.mark.parametrize("fact", ["git_blob", "sha256"])
def test_other_bytes_than_stated_are_refused_and_put_aside(
    server: Server, tmp_path: Path, fact: str
) -> None:
    stated = {"git_blob": "0" * 40, "sha256": "0" * 64}[fact]
    said = refused(plain(server, **{fact: stated}))
    found = {"git_blob": GIT_BLOB, "sha256": SHA256}[fact]
    assert found in said
    assert stated in said
    (aside,) = (tmp_path / "cache/weights/labram/base").iterdir()
    assert aside.name == f"base.pth.refused-{found[:12]}"
    assert str(aside) in said


@pytest.mark.parametrize(
    ("mood", "expected", "n_asked"),
    [("absent", "answered 404", 1), ("busy", "answered 503", 3), ("drops", "", 3)],
)
def test_an_address_that_gives_no_whole_file_is_refused_and_leaves_nothing(
    server: Server, tmp_path: Path, mood: str, expected: str, n_asked: int
) -> None:
    server.mood = mood
    said = refused(plain(server, git_blob=GIT_BLOB))
    assert expected in said
    assert f"{server.url}/raw/base.pth" in said
    assert "--weights PATH" in said
    assert len(server.asked) == n_asked
    assert list((tmp_path / "cache/weights/labram/base").iterdir()) == []


def test_without_a_network_the_address_and_the_way_by_hand_are_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = plain(server)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in refused(spec)
    assert server.asked == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    server.close()
    said = refused(spec)
    assert "refuses connections" in said
    assert "by hand" in said


def test_the_hub_is_asked_in_its_own_way_and_keeps_its_own_cache(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = on_hub()
    assert in_cache(spec, spec.weights.public[0]) is None
    path = resolve(spec, "hub")
    assert path.read_bytes() == DATA
    assert tmp_path / "hub" in path.parents
    assert "GET /someone/labram/resolve/main/model.safetensors" in server.asked
    assert in_cache(spec, spec.weights.public[0]) == path
    # Without a checksum, what it is is told by where it lies.
    file = WeightsFile(path=path, sha256="0" * 64, container="", tensors={})
    assert entry_of(spec, file) is spec.weights.public[0]
    elsewhere = WeightsFile(
        path=tmp_path / "model.safetensors", sha256="0" * 64, container="", tensors={}
    )
    assert entry_of(spec, elsewhere) is None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve(spec, "hub") == path


def test_other_bytes_from_the_hub_are_refused_and_its_cache_is_left_alone(
    server: Server,
) -> None:
    spec = on_hub(sha256="0" * 64)
    said = refused(spec)
    path = in_cache(spec, spec.weights.public[0])
    assert path is not None
    assert path.is_file()
    assert f"It lies at {path}" in said


@pytest.mark.parametrize(
    ("mood", "expected"),
    [
        ("absent", "no such repository, revision or file"),
        ("no repository", "no such repository, revision or file"),
        ("gated", "only to those who asked"),
    ],
)
def test_what_the_hub_does_not_give_is_refused_with_its_address(
    server: Server, mood: str, expected: str
) -> None:
    server.mood = mood
    said = refused(on_hub())
    assert expected in said
    assert "HF_TOKEN" in said
    assert f"{server.url}/someone/labram/resolve/main/model.safetensors" in said


def test_a_hub_that_is_away_or_drops_the_connection_is_refused_in_words(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between its own tries
    server.mood = "drops"
    assert "the download failed" in refused(on_hub())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "cannot be reached" in refused(on_hub())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server.close()
    assert "cannot be reached" in refused(on_hub())


def test_what_is_known_is_printed_with_the_command_to_use() -> None:
    from eegfm_bench.training.weights_task import about_weights

    def lines(model: str) -> str:
        about = about_weights({"model": model}, None)
        json.dumps(about)
        return "\n".join(verb.known_lines(about))

    labram = lines("labram")
    assert "--weights hub, hub:base" in labram
    assert "checksum: sha256 7c50583826af" in labram
    assert "run --model labram --weights hub" in labram
    assert "none that anybody is known to have published" in lines("trace")
    assert "nothing of an encoder is trained" in lines("chance")
