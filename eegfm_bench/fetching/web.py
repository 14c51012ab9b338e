"""The way out: a server is asked politely, again where that may help, and a mirror too.

From: a URL. To: an answer with its body still to come, or a refusal in plain words.

By ``requests``; pooch, which comes with MNE, cannot go on with half a file.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from eegfm_bench.errors import DataMissing, SpecError

if TYPE_CHECKING:
    from requests import Response, Session

T = TypeVar("T")
# Small: what was read of a block is lost when a connection breaks within it.
BLOCK = 1 << 16
LARGEST_LIST = 32 << 20
# Answers that say: later.
BUSY = (408, 425, 429, 500, 502, 503, 504)
GOES_ON = "The same command goes on from there."


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a server is asked again, and how long is waited.

    ``tries`` are those without a byte more than before; ``tries_in_all`` bound those
    with. Waits double from ``first_wait_s`` on to ``longest_wait_s``; a server that
    asks for more than ``longest_asked_s`` is not waited for.
    """

    tries: int = 6
    tries_in_all: int = 60
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    longest_asked_s: float = 300.0
    connect_s: float = 20.0
    silence_s: float = 60.0


class NotThere(DataMissing):
    """The server has no such file, or does not give it; others may be had."""


class Again(Exception):  # noqa: N818 - it may pass
    """A trouble that may pass; ``wait_s`` is what the server asks for."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def mirrored(url: str, mirror: str) -> str:
    """Return where a mirror has a URL.

    A mirror is a URL, below which every host is a folder (as ``wget -r`` lays it out),
    or ``PREFIX=URL`` for addresses that begin so; several with commas between.

    Raises
    ------
    SpecError
        If a mirror is of neither form.

    Examples
    --------
    >>> mirrored("https://physionet.org/files/a/1.0.0/b.edf", "http://m.org/copy")
    'http://m.org/copy/physionet.org/files/a/1.0.0/b.edf'
    >>> mirrored("https://physionet.org/files/a/b.edf", "physionet.org/files=http://m")
    'http://m/a/b.edf'
    """
    bare = url.partition("://")[2]
    for prefix, base in _mirrors(mirror):
        if bare.startswith(prefix):
            return f"{base.rstrip('/')}/{bare[len(prefix) :].lstrip('/')}"
    return url


def _mirrors(text: str) -> list[tuple[str, str]]:
    """Read prefixes and what stands for them."""
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        prefix, _, base = word.rpartition("=")
        if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc:
            raise SpecError(
                f"The mirror '{word}' (--mirror or EEGFM_MIRROR) is neither a URL such "
                f"as http://host/folder nor PREFIX=URL, such as "
                f"physionet.org/files=https://host/folder."
            )
        found.append((prefix.rpartition("://")[2], base))
    return found


class Web:
    """The way out: asks politely, again where that may help, and knows a mirror.

    Parameters
    ----------
    mirror : str
        See ``mirrored``.
    patience : Patience
        How often, how long.
    """

    def __init__(self, mirror: str = "", patience: Patience | None = None) -> None:
        _mirrors(mirror)  # refuses at once what is none
        self.mirror = mirror
        self.patience = patience or Patience()
        self.stop = threading.Event()
        self._own = threading.local()

    def text(self, url: str) -> str:
        """Return a short text, such as a list of files."""

        def attempt() -> bytes:
            with self.open(url, {}) as response:
                found = b""
                for block in blocks(response):
                    found += block
                    if len(found) > LARGEST_LIST:
                        raise NotThere(
                            f"{url}: over {LARGEST_LIST >> 20} MB; expected a list of "
                            f"files. Report it, or name another --mirror."
                        )
                return found

        try:
            return self.persist(url, attempt, lambda: 0).decode("utf-8")
        except UnicodeDecodeError as error:
            raise NotThere(
                f"{url}: holds no text; expected a list of files. Try again later, or "
                f"name another --mirror."
            ) from error

    def json(self, url: str) -> Any:
        """Return what a JSON document says."""
        text = self.text(url)
        try:
            return json.loads(text)
        except ValueError as error:
            raise NotThere(
                f"{url}: is not JSON; it begins with {text[:40]!r}. Try again later, "
                f"or name another --mirror."
            ) from error

    def persist(self, url: str, attempt: Callable[[], T], have: Callable[[], int]) -> T:
        """Try again as long as there is hope: bounded, and said in the end."""
        patience, began = self.patience, time.monotonic()
        best, idle = have(), 0
        for tried in range(1, patience.tries_in_all + 1):
            try:
                return attempt()
            except Again as error:
                idle, best = (0, have()) if have() > best else (idle + 1, best)
                own_s = patience.first_wait_s * 2 ** max(0, idle - 1)
                wait_s = min(own_s, patience.longest_wait_s)
                if error.wait_s is not None:
                    wait_s = error.wait_s
                if (
                    idle >= patience.tries
                    or tried == patience.tries_in_all
                    or wait_s > patience.longest_asked_s
                ):
                    raise self._given_up(url, error, tried, began) from error
                if self.stop.wait(wait_s):
                    raise KeyboardInterrupt from None
        raise AssertionError("unreachable")

    def _given_up(
        self, url: str, error: Again, tried: int, began: float
    ) -> DataMissing:
        tries = f"{tried} {'try' if tried == 1 else 'tries'}"
        asked = (
            ""
            if error.wait_s is None
            else f" It asks to be left alone for {error.wait_s:.0f} s."
        )
        return DataMissing(
            f"{mirrored(url, self.mirror)}: {error}; given up after {tries} in "
            f"{time.monotonic() - began:.0f} s.{asked} Check the network, try later, "
            f"or name another --mirror. {GOES_ON}"
        )

    def open(self, url: str, headers: Mapping[str, str]) -> Response:
        """Ask once; return an answer with a body, or say why there is none."""
        import requests

        place = mirrored(url, self.mirror)
        patience = self.patience
        try:
            # As it is: a part of a compressed answer is a part of nothing.
            response = self._session().get(
                place,
                headers={"Accept-Encoding": "identity", **headers},
                stream=True,
                timeout=(patience.connect_s, patience.silence_s),
            )
        except (requests.TooManyRedirects, requests.exceptions.InvalidURL) as error:
            raise NotThere(
                f"{place}: {_said(error)}. Name another --mirror, or report it."
            ) from error
        except requests.RequestException as error:
            raise Again(_said(error)) from error
        try:
            self._refuse_answer(place, response)
        except BaseException:
            response.close()
            raise
        return response

    def _refuse_answer(self, place: str, response: Response) -> None:
        status = response.status_code
        if status in BUSY:
            raise Again(
                f"the server answered {status} ({response.reason})",
                _asked_s(response.headers.get("Retry-After")),
            )
        hops = [place, *(r.url for r in response.history), response.url]
        if place.startswith("https:") and any(h.startswith("http:") for h in hops):
            raise NotThere(
                f"{place}: leads to {response.url}, which is not encrypted. Nothing "
                f"was taken from there; name a --mirror that you trust."
            )
        if status not in (200, 206, 416):
            raise NotThere(
                f"{place}: the server answered {status} ({response.reason}). The "
                f"publisher may have moved it; name another --mirror, or report it."
            )
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() not in ("", "identity"):
            raise NotThere(
                f"{place}: comes in the encoding '{encoding}', which was not asked "
                f"for. Name another --mirror, or ask whoever runs the proxy."
            )

    def _session(self) -> Session:
        """Return this thread's own connection."""
        import requests

        from eegfm_bench import __version__

        if not hasattr(self._own, "session"):
            session = requests.Session()
            session.headers["User-Agent"] = f"eegfm-bench/{__version__}"
            session.max_redirects = 8
            self._own.session = session
        found: Session = self._own.session
        return found


def blocks(response: Response) -> Iterable[bytes]:
    """Read an answer's body; a broken connection may be tried again."""
    import requests

    try:
        yield from response.iter_content(BLOCK)
    except requests.RequestException as error:
        raise Again(_said(error)) from error


def _said(error: Exception) -> str:
    """Say in few words what went wrong on the way."""
    import requests

    text = str(error)
    if isinstance(error, requests.Timeout) or "timed out" in text.lower():
        return "the server fell silent"
    if isinstance(error, requests.exceptions.SSLError):
        return f"no encrypted connection ({text.rpartition('(')[2].strip('() ')})"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if "NameResolution" in text or "Name or service" in text:
        return "its name is not known here"
    if "refused" in text.lower():
        return "it refuses connections"
    if isinstance(error, requests.ConnectionError):
        return "the connection broke off"
    return text or type(error).__name__


def _asked_s(text: str | None) -> float | None:
    """Read Retry-After: seconds, or a date.

    Examples
    --------
    >>> _asked_s("7"), _asked_s("soon"), _asked_s("Wed, 21 Oct 2015 07:28:00 GMT")
    (7.0, None, 0.0)
    """
    if text is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
