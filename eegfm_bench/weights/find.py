"""Where a file of weights lies: here, in a cache, or in public.

From: what a person asked for: a path, ``hub`` or ``hub:KEY``. To: a path on this
computer, its checksum held against what is stated of it. Nothing heavy is imported.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from eegfm_bench.datasets._places import cache_root
from eegfm_bench.errors import UnknownName, WeightsError
from eegfm_bench.models._spec import ModelSpec
from eegfm_bench.models._weights import PublicWeights

if TYPE_CHECKING:
    from requests import Response

    from eegfm_bench.weights.files import WeightsFile

HUB = "hub"
HUB_URL = "https://huggingface.co"
TRIES = 3
WAIT_S = 1.0
SILENCE_S = 60.0
BLOCK = 1 << 20


def resolve(spec: ModelSpec, given: str) -> Path:
    """Return where the weights asked for lie, downloading public ones.

    Files of the hub go to its own cache (``HF_HOME``), others below ``EEGFM_CACHE``.

    Parameters
    ----------
    spec : ModelSpec
        Whose public weights ``hub`` means.
    given : str
        ``hub``, ``hub:KEY``, or a path.

    Raises
    ------
    WeightsError
        If nothing is at the path; if the model has no public weights; if they cannot
        be had, with the address and how to bring them by hand; if a checksum is not
        the one stated.
    UnknownName
        If none of them has this key.
    """
    entry = public_entry(spec, given)
    if entry is None:
        path = Path(given).expanduser()
        if not path.exists():
            raise WeightsError(
                f"--weights {given}: there is no such file or folder. Give a file of "
                f"weights, a folder with one, or 'hub' for public ones (a file of that "
                f"name here is ./hub)."
            )
        # Not resolved: in the hub's cache, names are links and tell what a file is.
        return path.absolute()
    if entry.hub:
        path = _from_hub(spec, entry)
    else:
        path = _cached(spec, entry)
        if not path.is_file():
            _download(spec, entry, path)
    _refuse_other_bytes(spec, entry, path)
    return path


def public_entry(spec: ModelSpec, given: str) -> PublicWeights | None:
    """Return which public weights a word means, or None if it is a path.

    Raises
    ------
    WeightsError, UnknownName
        If the model has no public weights, or none of that key.
    """
    source, colon, key = given.partition(":")
    if source != HUB:
        return None
    known = {entry.key: entry for entry in spec.weights.public}
    if not known:
        raise WeightsError(
            f"--weights {given}: no public weights of {spec.name} are known. Give a "
            f"file or folder of your own (--weights PATH), or leave --weights out."
        )
    if not colon:
        return spec.weights.public[0]
    if key not in known:
        raise UnknownName.among(f"public file of {spec.name}", key, known)
    return known[key]


def address(entry: PublicWeights) -> str:
    """Return where public weights can be had with a browser."""
    if entry.url:
        return entry.url
    endpoint = os.environ.get("HF_ENDPOINT") or HUB_URL
    return f"{endpoint.rstrip('/')}/{entry.hub}/resolve/{entry.revision}/{entry.file}"


def in_cache(spec: ModelSpec, entry: PublicWeights) -> Path | None:
    """Return where public weights lie on this computer, or None if they do not."""
    if not entry.hub:
        path = _cached(spec, entry)
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(entry.hub, entry.file, revision=entry.revision)
    return Path(found) if isinstance(found, str) else None


def checksum(entry: PublicWeights) -> str:
    """Return what is stated of a file's bytes, in words; empty if nothing is."""
    if entry.sha256:
        return f"sha256 {entry.sha256}"
    return f"git blob {entry.git_blob}" if entry.git_blob else ""


def _cached(spec: ModelSpec, entry: PublicWeights) -> Path:
    name = Path(entry.file).name
    return cache_root() / "weights" / spec.name.replace(":", "+") / entry.key / name


def _from_hub(spec: ModelSpec, entry: PublicWeights) -> Path:
    """Ask the hub's own client, which keeps its own cache."""
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(
            hf_hub_download(
                entry.hub,
                entry.file,
                revision=entry.revision,
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        )
    except errors.GatedRepoError as error:
        raise _refused(
            spec, entry, "the hub gives them only to those who asked", _LOG_IN
        ) from error
    except errors.LocalEntryNotFoundError as error:  # before its parent below
        why = "they are not in the hub's cache, and the hub cannot be reached"
        raise _refused(spec, entry, why) from error
    except (
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.EntryNotFoundError,
    ) as error:
        what = "the hub has no such repository, revision or file, or shows it to few"
        raise _refused(spec, entry, what, _LOG_IN) from error
    except Exception as error:  # its kinds change with the library beneath it
        raise _refused(spec, entry, f"the download failed ({_why(error)})") from error


_LOG_IN = "If it asks for your consent, give it there, and set HF_TOKEN. "


def _download(spec: ModelSpec, entry: PublicWeights, path: Path) -> None:
    """Bring one file under its name, whole or not at all."""
    import requests

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise _refused(spec, entry, "HF_HUB_OFFLINE is set, and it is not in the cache")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        for tried in range(1, TRIES + 1):
            try:
                with requests.get(
                    entry.url,
                    stream=True,
                    timeout=SILENCE_S,
                    headers={"Accept-Encoding": "identity"},
                ) as answer:
                    _refuse_answer(spec, entry, answer)
                    _write(answer, part)
                break
            except (requests.RequestException, _Short) as error:
                if tried == TRIES:
                    why = f"the download failed {TRIES} times ({_why(error)})"
                    raise _refused(spec, entry, why) from error
                time.sleep(WAIT_S)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Short(Exception):  # noqa: N818 - it may pass
    """The connection ended before the file did."""


def _refuse_answer(spec: ModelSpec, entry: PublicWeights, answer: Response) -> None:
    hops = [*(each.url for each in answer.history), answer.url]
    if entry.url.startswith("https:") and any(h.startswith("http:") for h in hops):
        raise _refused(spec, entry, "it leads to a place that is not encrypted")
    status = answer.status_code
    if status in (408, 425, 429) or status >= 500:
        raise _Short(f"the server answered {status}, {answer.reason}")
    if status != 200:
        raise _refused(spec, entry, f"the server answered {status}, {answer.reason}")


def _write(answer: Response, part: Path) -> None:
    stated = answer.headers.get("Content-Length", "")
    size = 0
    with part.open("wb") as file:
        for block in answer.iter_content(BLOCK):
            size += file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if stated.isdigit() and size != int(stated):
        raise _Short(f"the connection ended after {size:,} of {int(stated):,} bytes")


def _refuse_other_bytes(spec: ModelSpec, entry: PublicWeights, path: Path) -> None:
    """Hold a file against the checksum stated of it, where there is one."""
    if entry.sha256:
        kind, stated, hashed = "sha256", entry.sha256.lower(), hashlib.sha256()
    elif entry.git_blob:
        kind, stated = "git blob", entry.git_blob.lower()
        # What git calls a file: a hash, not a lock.
        hashed = hashlib.sha1(usedforsecurity=False)
        hashed.update(f"blob {path.stat().st_size}\0".encode())
    else:
        return
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hashed.update(block)
    found = hashed.hexdigest()
    if found == stated:
        return
    lies = f"It lies at {path}"
    if not entry.hub:  # the hub's cache is not ours to change
        aside = path.with_name(f"{path.name}.refused-{found[:12]}")
        path.replace(aside)
        lies = f"It was put aside as {aside}"
    raise WeightsError(
        f"{address(entry)}: has the {kind} {found}; stated of {spec.name}'s '"
        f"{entry.key}' is {stated} ({entry.source}). {lies}. If the download was at "
        f"fault, delete it and try again; if the file was changed there, take it at "
        f"your own word with --weights PATH."
    )


def _refused(
    spec: ModelSpec, entry: PublicWeights, what: str, hint: str = ""
) -> WeightsError:
    """Say what could not be had, from where, and how to bring it by hand."""
    asked = HUB if entry is spec.weights.public[0] else f"{HUB}:{entry.key}"
    return WeightsError(
        f"The weights '{asked}' of {spec.name} are not here: {what}. {hint}They are at "
        f"{address(entry)} : bring the file by hand, and give it with --weights PATH."
    )


def _why(error: BaseException) -> str:
    """Say in few words what a library means by an error."""
    text = str(error)
    if "timed out" in text.lower():
        return "the server fell silent"
    if "resol" in text.lower() or "Name or service" in text:
        return "its name is not known here"
    if "refused" in text.lower():
        return "it refuses connections"
    if "offline" in text.lower():
        return "HF_HUB_OFFLINE is set"
    first = text.strip().splitlines()[0] if text.strip() else ""
    return (
        f"{type(error).__name__}: {first[:160].rstrip('.')}"
        if first
        else (type(error).__name__)
    )


def entry_of(spec: ModelSpec, file: WeightsFile) -> PublicWeights | None:
    """Return which public weights a file is: by its bytes, or by where it lies."""
    known = known_by_bytes(spec, file)
    if known is not None:
        return known
    for entry in spec.weights.public:
        # The hub's cache names its folders so.
        folder = f"models--{entry.hub.replace('/', '--')}"
        is_there = entry.hub and folder in file.path.parts
        if is_there and not checksum(entry) and file.path.name == Path(entry.file).name:
            return entry
    return None


def known_by_bytes(spec: ModelSpec, file: WeightsFile) -> PublicWeights | None:
    """Return which public weights have a file's checksum, if any have."""
    return spec.weights.known(sha256=file.sha256, git_blob=file.git_blob)


def channels_of(spec: ModelSpec, file: WeightsFile) -> tuple[str, ...]:
    """Return whose rows a file's tables of channels have; empty if nobody says.

    Raises
    ------
    WeightsError
        If the file's ``config.json`` speaks of channels, and does not name them.
    """
    known = known_by_bytes(spec, file)
    if known is not None:
        return known.channels
    saved = file.about.get("eegfm_bench")
    if not isinstance(saved, Mapping) or "channels" not in saved:
        entry = entry_of(spec, file)
        return () if entry is None else entry.channels
    channels = saved["channels"]
    if isinstance(channels, list) and all(isinstance(c, str) for c in channels):
        return tuple(channels)
    raise WeightsError(
        f"{file.path.with_name('config.json')}: 'channels' is {channels!r}; expected a "
        f"list of names. Take the folder as it was saved."
    )
