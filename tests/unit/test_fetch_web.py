"""The way out: patience with its bounds, mirrors, lists; over a server of our own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from eegfm_bench.errors import DataMissing, SpecError
from eegfm_bench.fetching import web as web_module
from eegfm_bench.fetching.web import (
    NotThere,
    Patience,
    Web,
    _asked_s,
    mirrored,
)
from tests.publishers import Publisher, published

PATH = "/physionet.org/files/a/1.0.0/b.edf"
URL = "https://physionet.org/files/a/1.0.0/b.edf"
SOON = Patience(tries=4, first_wait_s=0.01, connect_s=2.0, silence_s=0.3)


@pytest.fixture
def server() -> Iterator[Publisher]:
    with published() as publisher:
        publisher.files[PATH] = b"a list"
        yield publisher


@pytest.fixture
def web(server: Publisher) -> Web:
    return Web(server.url, SOON)


def test_a_busy_server_is_waited_for_as_long_as_it_asks(
    web: Web, server: Publisher
) -> None:
    server.misdeeds[PATH] = ["503:1", "429:0", "500"]
    began = time.monotonic()
    assert web.text(URL) == "a list"
    assert time.monotonic() - began > 1.0


def test_a_server_that_asks_for_an_hour_is_not_waited_for(
    web: Web, server: Publisher
) -> None:
    server.misdeeds[PATH] = ["429:3600"]
    with pytest.raises(DataMissing, match=r"1 try in 0 s.*alone for 3600 s"):
        web.text(URL)
    date = formatdate(time.time() + 100, usegmt=True)
    asked_s = _asked_s(date)
    assert asked_s is not None
    assert 90 < asked_s <= 100


def test_patience_ends_and_says_how_much_there_was(web: Web, server: Publisher) -> None:
    server.always[PATH] = "503"
    with pytest.raises(DataMissing, match=r"answered 503.*given up after 4 tries in"):
        web.text(URL)
    assert len(server.asked) == 4


def test_nobody_there_is_told_in_plain_words() -> None:
    with published() as gone:
        pass
    with pytest.raises(DataMissing, match="it refuses connections; given up after 4"):
        Web(gone.url, SOON).text(URL)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_is_not_there_is_not_asked_for_twice(
    web: Web, server: Publisher, status: int
) -> None:
    server.always[PATH] = str(status)
    with pytest.raises(NotThere, match=f"answered {status}"):
        web.text(URL)
    assert len(server.asked) == 1


def test_an_interruption_does_not_wait_its_turn(web: Web, server: Publisher) -> None:
    server.always[PATH] = "503:60"
    threading.Timer(0.2, web.stop.set).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        web.text(URL)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("word", ["nowhere", "physionet.org=", "ftp://x", "a=b=c"])
def test_what_is_no_mirror_is_refused(word: str) -> None:
    with pytest.raises(SpecError, match="neither a URL"):
        Web(word)


def test_the_first_mirror_that_fits_is_asked() -> None:
    words = "https://osf.io=http://o/, physionet.org/files=https://p/, http://rest"
    assert mirrored("https://osf.io/download/x/", words) == "http://o/download/x/"
    assert mirrored(URL, words) == "https://p/a/1.0.0/b.edf"
    assert mirrored("https://a.org/b", words) == "http://rest/a.org/b"


def test_a_list_is_text_and_short(
    web: Web, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotThere, match="is not JSON; it begins with 'a list'"):
        web.json(URL)
    server.files[PATH] = b"\xff\xfe\x00"
    with pytest.raises(NotThere, match="holds no text"):
        web.text(URL)
    monkeypatch.setattr(web_module, "LARGEST_LIST", 1 << 20)
    server.files[PATH] = bytes(3 << 20)
    with pytest.raises(NotThere, match="over 1 MB"):
        web.text(URL)


def test_a_list_that_breaks_off_is_asked_for_again(web: Web, server: Publisher) -> None:
    server.misdeeds[PATH] = ["drop:3"]
    assert web.text(URL) == "a list"


def test_secrets_do_not_leave_the_encrypted_way(
    server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = Web(server.url, SOON)
    monkeypatch.setattr(web_module, "mirrored", lambda url, _: f"https:{url[6:]}")
    response = type("Answer", (), {"status_code": 200, "history": [], "headers": {}})
    response.url = "http://physionet.org/b.edf"
    with pytest.raises(NotThere, match="is not encrypted"):
        web._refuse_answer(URL, response)
