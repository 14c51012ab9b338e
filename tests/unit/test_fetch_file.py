"""One file over a real HTTP server on this machine, with all its bad habits."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eegfm_bench.errors import DataMissing, StoreError
from eegfm_bench.fetching import file
from eegfm_bench.fetching.file import (
    NotAsPublished,
    Remote,
    download,
    part_of,
    refuse_full,
)
from eegfm_bench.fetching.web import NotThere, Patience, Web
from tests.publishers import Publisher, published, sha256

BODY = bytes(range(256)) * 4000
PATH = "/physionet.org/files/a/1.0.0/b.edf"
URL = "https://physionet.org/files/a/1.0.0/b.edf"
SOON = Patience(tries=4, first_wait_s=0.01, connect_s=2.0, silence_s=0.3)


@pytest.fixture
def server() -> Iterator[Publisher]:
    with published() as publisher:
        publisher.files[PATH] = BODY
        yield publisher


@pytest.fixture
def web(server: Publisher) -> Web:
    return Web(server.url, SOON)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "b.edf"


SUMMED = Remote(
    url=URL, path="b.edf", subjects=("b",), sums={"sha256": sha256(BODY).upper()}
)
BARE = Remote(url=URL, path="b.edf", subjects=("b",))


def bring(web: Web, target: Path, remote: Remote = SUMMED) -> dict[str, str]:
    return download(web, remote, target, lambda have, of: None)


def is_clean(target: Path) -> bool:
    """Whether the file stands alone in its folder, and is right."""
    return [*target.parent.iterdir()] == [target] and target.read_bytes() == BODY


def test_a_file_is_brought_under_its_name_alone(web: Web, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    sums = download(web, SUMMED, target, lambda *told: seen.append(told))
    assert sums == {"sha256": sha256(BODY)}
    assert is_clean(target)
    assert seen[-1] == (len(BODY), len(BODY))
    assert [have for have, _ in seen] == sorted(have for have, _ in seen)


@pytest.mark.parametrize("remote", [SUMMED, BARE])
@pytest.mark.parametrize("deed", ["drop:300000", "stall:300000"])
def test_a_broken_connection_goes_on_where_it_ended(
    web: Web, target: Path, server: Publisher, deed: str, remote: Remote
) -> None:
    server.misdeeds[PATH] = [deed, deed]
    bring(web, target, remote)
    assert is_clean(target)
    first, second, third = server.ranges(PATH)
    assert first is None
    assert second is not None
    assert third is not None
    start = int(second.removeprefix("bytes=").removesuffix("-"))
    # At most the block in hand was lost.
    assert 300_000 - (1 << 16) <= start <= 300_000


def test_another_process_goes_on_with_what_is_there(
    web: Web, target: Path, server: Publisher
) -> None:
    server.always[PATH] = "drop:0"
    server.misdeeds[PATH] = ["drop:500000"]
    with pytest.raises(DataMissing, match="goes on from there"):
        bring(web, target)
    has = part_of(target).stat().st_size
    assert has > 400_000
    assert not target.exists()
    server.always.clear()
    bring(Web(server.url, SOON), target)
    assert server.ranges(PATH)[-1] == f"bytes={has}-"
    assert is_clean(target)


@pytest.mark.parametrize("deed", ["whole", "odd"])
def test_a_server_without_ranges_begins_anew_and_nothing_is_appended(
    web: Web, target: Path, server: Publisher, deed: str
) -> None:
    server.misdeeds[PATH] = ["drop:200000", deed]
    bring(web, target, BARE)
    assert is_clean(target)


def test_a_file_that_changed_on_the_server_is_begun_anew(
    web: Web, target: Path, server: Publisher
) -> None:
    server.versions[PATH] = "old"
    server.files[PATH] = b"x" * len(BODY)
    server.misdeeds[PATH] = ["drop:400000", *["drop:0"] * 4]
    with pytest.raises(DataMissing):
        bring(web, target, BARE)
    server.misdeeds.clear()
    server.versions[PATH], server.files[PATH] = "new", BODY
    bring(web, target, BARE)
    assert server.ranges(PATH)[-1] is not None
    assert is_clean(target)


def test_without_validator_and_sum_nothing_is_gone_on_with(
    web: Web, target: Path, server: Publisher
) -> None:
    server.validators = False
    server.misdeeds[PATH] = ["drop:400000"]
    bring(web, target, BARE)
    assert server.ranges(PATH) == [None, None]
    server.misdeeds[PATH] = ["drop:400000"]
    target.unlink()
    bring(web, target)  # a sum decides in the end
    assert server.ranges(PATH)[-1] is not None
    assert is_clean(target)


def test_a_part_that_is_whole_is_not_asked_for_again(
    web: Web, target: Path, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(file, "_refuse_other", killed)
        with pytest.raises(KeyboardInterrupt):
            bring(web, target)
    assert part_of(target).stat().st_size == len(BODY)
    bring(web, target)
    assert len(server.asked) == 1
    assert is_clean(target)


def test_a_part_whose_length_nobody_stated_may_be_whole(
    web: Web, target: Path, server: Publisher
) -> None:
    server.misdeeds[PATH] = ["open"]
    bring(web, target)
    assert is_clean(target)
    target.rename(part_of(target))
    note = '{"url": "%s", "sums": {"sha256": "%s"}, "size": null}'
    part = part_of(target)
    part.with_name(f"{part.name}.json").write_text(note % (URL, sha256(BODY)))
    bring(web, target)
    assert server.ranges(PATH)[-1] == f"bytes={len(BODY)}-"
    assert is_clean(target)


def test_an_end_that_nobody_announced_is_known_by_the_stated_size(
    web: Web, target: Path, server: Publisher
) -> None:
    server.misdeeds[PATH] = ["open:300000"]
    bring(web, target, replace(BARE, size=len(BODY)))
    assert server.ranges(PATH) == [None, "bytes=300000-"]
    assert is_clean(target)


def test_a_system_that_writes_half_is_asked_for_the_other(
    web: Web, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def half(handle: int, block: memoryview) -> int:
        return write(handle, block[: max(1, len(block) // 2)])

    monkeypatch.setattr(file.os, "write", half)
    bring(web, target)
    assert is_clean(target)


def test_a_wrong_sum_is_tried_once_more_from_the_start(
    web: Web, target: Path, server: Publisher
) -> None:
    server.misdeeds[PATH] = ["wrong"]
    bring(web, target)
    assert server.ranges(PATH) == [None, None]
    assert is_clean(target)


def test_a_sum_that_stays_wrong_is_told_and_nothing_is_kept(
    web: Web, target: Path, server: Publisher
) -> None:
    server.always[PATH] = "wrong"
    with pytest.raises(NotAsPublished) as refused:
        bring(web, target)
    text = str(refused.value)
    assert refused.value.exit_status == 1
    assert str(target) in text
    assert sha256(bytes(len(BODY))) in text
    assert sha256(BODY) in text
    assert server.url in text
    assert "Try again later" in text
    assert len(server.asked) == 2
    assert [*target.parent.iterdir()] == []


@pytest.mark.parametrize("remote", [SUMMED, replace(BARE, size=len(BODY))])
def test_a_length_that_lies_is_no_file(
    web: Web, target: Path, server: Publisher, remote: Remote
) -> None:
    server.always[PATH] = "short:70000"
    with pytest.raises(NotAsPublished, match=r"70,000|sha256"):
        bring(web, target, remote)
    assert [*target.parent.iterdir()] == []


def test_what_is_longer_than_stated_is_stopped(
    web: Web, target: Path, server: Publisher
) -> None:
    server.always[PATH] = "open"
    with pytest.raises(NotAsPublished, match="longer than the 100,000"):
        bring(web, target, replace(BARE, size=100_000))


def test_a_little_more_each_time_is_no_reason_to_ask_for_ever(
    target: Path, server: Publisher
) -> None:
    server.always[PATH] = "drop:70000"
    with pytest.raises(DataMissing, match="given up after 7 tries"):
        bring(Web(server.url, replace(SOON, tries_in_all=7)), target)
    assert part_of(target).stat().st_size > 400_000


def test_a_redirect_is_followed_and_a_circle_is_not(
    web: Web, target: Path, server: Publisher
) -> None:
    server.files["/elsewhere"] = BODY
    server.always[PATH] = f"to:{server.url}/elsewhere"
    server.misdeeds["/elsewhere"] = ["drop:100000"]
    bring(web, target, BARE)
    assert is_clean(target)
    assert server.ranges("/elsewhere")[1] is not None
    server.always[PATH] = f"to:{server.url}{PATH}"
    target.unlink()
    with pytest.raises(NotThere, match="redirects"):
        bring(web, target)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_and_the_same_command_goes_on(
    web: Web,
    target: Path,
    server: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    write, room = os.write, [200_000]

    def until_full(handle: int, block: memoryview) -> int:
        if not room[0]:
            raise OSError(code, "no room")
        n = write(handle, block[: room[0]])  # the first half, without a word
        room[0] -= n
        return n

    with monkeypatch.context() as patch:
        patch.setattr(file.os, "write", until_full)
        with pytest.raises(
            StoreError, match=r"b\.edf\.part: the disk is full.*200,000"
        ):
            bring(web, target)
    assert part_of(target).stat().st_size == 200_000
    bring(web, target)
    assert server.ranges(PATH) == [None, "bytes=200000-"]
    assert is_clean(target)


def test_what_will_not_fit_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the set needs 1,000,000,000\.0 MB"):
        refuse_full(tmp_path / "none" / "yet", 10**15, "the set")
