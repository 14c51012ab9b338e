"""Publishers of open sets: which of their files a protocol needs, and their sums.

From: a publisher's own list of files, and the DatasetSpec, which is shown a folder of
empty files with those names and says itself which of them it would read. To: what
``fetch`` is to bring. Sets that are not open: what to ask for, where.

What is published with the files: PhysioNet has sha256 (``SHA256SUMS.txt``), no sizes;
figshare has sizes and md5, OSF sizes, sha256 and md5, in their lists; ISRUC has
nothing, so its archives' own check sums, when they are unpacked, are all there is.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from eegfm_bench.datasets._filtered import MARK as FILTERED
from eegfm_bench.datasets._folds import unfolded
from eegfm_bench.datasets._spec import DatasetSpec
from eegfm_bench.errors import DataMissing, SignalError, listed
from eegfm_bench.fetching.file import Remote
from eegfm_bench.fetching.web import NotThere, Web

Listing = Callable[[DatasetSpec, Web], list[Remote]]
# What an archive's member is to be called below the dataset's folder.
Arrange = Callable[[DatasetSpec, str, Remote], str]


def _as_it_is(spec: DatasetSpec, member: str, remote: Remote) -> str:
    return member


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Where an open set comes from.

    ``about_gb`` is how large the part that is needed is, where the list does not say
    it; None is not known.
    """

    name: str
    listing: Listing
    about_gb: float | None = None
    arrange: Arrange = _as_it_is


def needed(
    spec: DatasetSpec, names: Iterable[str], where: str
) -> dict[str, tuple[str, ...]]:
    """Return which files of a list a dataset reads, and whose they are.

    Parameters
    ----------
    spec : DatasetSpec
        Its ``find`` decides.
    names : iterable of str
        Paths below the dataset's folder, with slashes.
    where : str
        What has this list, for messages.

    Raises
    ------
    NotThere
        If the list has nothing of the dataset, or a subject in part.
    SignalError
        If a name leads out of the folder.
    """
    names = list(names)
    refuse_unsafe(names, where)
    with tempfile.TemporaryDirectory(prefix="eegfm-list-") as root:
        folder, blank = Path(root).resolve() / spec.folder, Path(root) / ".blank"
        blank.touch()
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(blank, path)  # fifty times as fast as a file of its own
            except OSError:
                path.touch()
        try:
            sources = spec.find(Path(root).resolve())
        except DataMissing as error:
            raise NotThere(
                f"{where}: has no file of {spec.title} among {len(names)}. Its "
                f"publisher may have laid it out anew: report it. {spec.access}"
            ) from error
        except SignalError as error:
            text = str(error).replace(f"{folder}", where)
            raise NotThere(f"The publisher's list is odd: {text}") from error
        whose: dict[str, list[str]] = {}
        for source in sources:
            for path in (source.path, *source.extra):
                if path.is_file():
                    name = path.relative_to(folder).as_posix()
                    whose.setdefault(name, []).append(source.subject)
    return {name: tuple(dict.fromkeys(s)) for name, s in whose.items()}


def refuse_unsafe(names: Iterable[str], where: str) -> None:
    """Refuse names that lead out of the folder they are meant for.

    Raises
    ------
    SignalError
        If one does.
    """
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if (
            not path.parts
            or path.is_absolute()
            or ".." in path.parts
            or re.match(r"[A-Za-z]:", name)
            or "\0" in name
        ):
            raise SignalError(
                f"{where}: names the file '{name}', which would be written outside of "
                f"its folder. Nothing was written; do not use it, and report it."
            )


def read_sums(text: str, where: str) -> dict[str, str]:
    """Read ``SHA256SUMS.txt``: path → sha256.

    Examples
    --------
    >>> list(read_sums(f"{'0' * 64} S001/S001R01.edf", "a list"))
    ['S001/S001R01.edf']
    """
    sums = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        found = re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(\S.*?)\s*", line)
        if found is None:
            raise NotThere(
                f"{where}: line {number} is {line[:60]!r}; expected a sha256 and a "
                f"path. Try again later, or name another --mirror."
            )
        sums[found[2].removeprefix("./")] = found[1].lower()
    return sums


def physionet(slug: str) -> Listing:
    """List a project of PhysioNet, such as ``eegmat/1.0.0``."""
    base = f"https://physionet.org/files/{slug}/"

    def listing(spec: DatasetSpec, web: Web) -> list[Remote]:
        url = f"{base}SHA256SUMS.txt"
        sums = read_sums(web.text(url), url)
        return [
            Remote(
                url=base + quote(name),
                path=name,
                subjects=subjects,
                sums={"sha256": sums[name]},
            )
            for name, subjects in needed(spec, sums, url).items()
        ]

    return listing


def figshare(article: int, version: int, *, inside: str, archive: str) -> Listing:
    """List a version of a figshare article.

    Its recordings by themselves, which go to the folder ``inside``; where the version
    does not have all of them so, its ``archive`` of them.
    """
    url = f"https://api.figshare.com/v2/articles/{article}/versions/{version}"

    def listing(spec: DatasetSpec, web: Web) -> list[Remote]:
        files = [
            f for f in _rows(web.json(url), "files", url) if not f.get("is_link_only")
        ]
        by_path = {
            below(spec, f"{inside}/{str(f['name']).lower()}"): f
            for f in files
            if str(f["name"]).lower().endswith(".mat")
        }
        try:
            whose = needed(spec, by_path, url)
        except NotThere:
            whose = {}
        if whose.keys() and not set(spec.everyone) - {
            s for own in whose.values() for s in own
        }:
            return [_on_figshare(by_path[p], p, s) for p, s in whose.items()]
        for file in files:
            if file["name"] == archive:
                return [_on_figshare(file, archive, spec.everyone, archive="zip")]
        raise NotThere(
            f"{url}: has neither the recordings of {spec.title} nor {archive}, but "
            f"{listed([str(f['name']) for f in files], most=4) or 'nothing'}. "
            f"{spec.access}"
        )

    return listing


def _on_figshare(
    file: Mapping[str, Any], path: str, subjects: Sequence[str], archive: str = ""
) -> Remote:
    md5 = file.get("computed_md5") or file.get("supplied_md5")
    return Remote(
        url=str(file["download_url"]),
        path=path,
        subjects=tuple(subjects),
        size=file.get("size") or None,
        sums={"md5": md5} if md5 else {},
        archive=archive,
    )


def isruc(group: str) -> Listing:
    """List the archives of a subgroup of ISRUC-Sleep, one a subject."""

    def listing(spec: DatasetSpec, web: Web) -> list[Remote]:
        return [
            Remote(
                url=(
                    f"https://dataset.isr.uc.pt/ISRUC_Sleep/{group}/{_number(subject)}"
                    f".rar"
                ),
                path=below(spec, f"isruc/{group}/{_number(subject)}.rar"),
                subjects=(subject,),
                archive="rar",
            )
            for subject in spec.everyone
        ]

    return listing


def _number(subject: str) -> int:
    return int(re.sub(r"\D", "", subject))


def in_its_folder(spec: DatasetSpec, member: str, remote: Remote) -> str:
    """Put a member of ``8.rar`` into the folder ``8``, where it mostly is already."""
    number = PurePosixPath(remote.path).stem
    name = member if member.startswith(f"{number}/") else f"{number}/{member}"
    return str(PurePosixPath(remote.path).parent / name)


# The node holds all tracks of the competition; this one's folder is known by its name.
_TRACK = re.compile(r"track\s*#?\s*3", re.IGNORECASE)
_SHEET = re.compile(r"track\s*#?3.*answer.*\.xlsx", re.IGNORECASE)
_PART = re.compile(r"(training|validation|test)(\s*set)?", re.IGNORECASE)
_SHEET_NAME = "Track3_Answer Sheet_Test.xlsx"
MOST_FOLDERS = 60


def osf(node: str, *, sheet: str) -> Listing:
    """List the third track of the competition's node on OSF.

    ``sheet`` is the file id of its answer sheet, for when the list does not have it.
    """
    start = (
        f"https://api.osf.io/v2/nodes/{node}/files/osfstorage/"
        f"?page%5Bsize%5D=100"  # ten by default; a stranger has 100 requests an hour
    )

    def listing(spec: DatasetSpec, web: Web) -> list[Remote]:
        files = _walk_osf(web, start)
        by_path = {_bcic_path(where): row for where, row in files.items()}
        whose_sheet = [p for p in by_path if _SHEET.fullmatch(p.rpartition("/")[2])]
        names = by_path if whose_sheet else {**by_path, _SHEET_NAME: None}
        found = []
        for path, subjects in needed(spec, names, start).items():
            row, name = names[path], path.rpartition("/")[2]
            # Exactly one sheet may be there, in either of two places.
            is_sheet = _SHEET.fullmatch(name)
            also = (name, f"Test set/{name}") if is_sheet else ()
            if row is None:
                url = f"https://osf.io/download/{sheet}/"
                found.append(Remote(url=url, path=path, subjects=subjects, also=also))
                continue
            hashes = row["attributes"].get("extra", {}).get("hashes", {})
            found.append(
                Remote(
                    url=str(row["links"]["download"]),
                    path=path,
                    subjects=subjects,
                    size=row["attributes"].get("size"),
                    sums={k: v for k, v in hashes.items() if k in ("sha256", "md5")},
                    also=also,
                )
            )
        return found

    return listing


def _walk_osf(web: Web, start: str) -> dict[str, Mapping[str, Any]]:
    """Return the files of the track by their path in the node."""
    folders, files, n_asked = [(start, "")], {}, 0
    while folders:
        url, where = folders.pop(0)
        n_asked += 1
        if n_asked > MOST_FOLDERS:
            raise NotThere(
                f"{start}: has over {MOST_FOLDERS} folders and pages; expected a "
                f"handful. Its publisher may have laid it out anew: report it."
            )
        page = web.json(url)
        rows = _rows(page, "data", url)
        tracks = [r for r in rows if _TRACK.search(str(r["attributes"]["name"]))]
        for row in rows if where or not tracks else tracks:
            name = str(row["attributes"]["name"])
            if row["attributes"]["kind"] == "folder":
                inner = row["relationships"]["files"]["links"]["related"]["href"]
                more = "&" if "?" in inner else "?"
                folders.append((f"{inner}{more}page%5Bsize%5D=100", f"{where}{name}/"))
            else:
                files[f"{where}{name}"] = row
        if following := (page.get("links") or {}).get("next"):
            folders.append((following, where))
    return files


def _bcic_path(where: str) -> str:
    """Return where a file of the node goes: into its part's folder, or beside them.

    Examples
    --------
    >>> _bcic_path("Track#3 Imagined speech/Training Set/Data_Sample01.mat")
    'Training set/Data_Sample01.mat'
    """
    *above, name = where.split("/")
    for folder in reversed(above):
        if found := _PART.fullmatch(folder.strip()):
            return f"{found[1].capitalize()} set/{name}"
    return name


def _rows(document: Any, key: str, url: str) -> list[Any]:
    """Return the list a document holds under a key."""
    rows = document.get(key) if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise NotThere(
            f"{url}: has no list '{key}'. Its publisher may have changed it: report "
            f"it. Try again later, or name another --mirror."
        )
    return rows


def below(spec: DatasetSpec, path: str) -> str:
    """Return a path of the data root as one below the dataset's own folder."""
    return str(PurePosixPath(path).relative_to(spec.folder))


EEGMMIDB = "eegmmidb/1.0.0"
PUBLISHERS: dict[str, Publisher] = {
    # 36 × (182 + 62) s × 500 Hz × 21 signals × 2 bytes; 218 × 1.3 MB; 654 × 2.6 MB;
    # 903 h × 42.4 MB.
    "eegmat": Publisher(
        name="PhysioNet", listing=physionet("eegmat/1.0.0"), about_gb=0.2
    ),
    "eyes": Publisher(name="PhysioNet", listing=physionet(EEGMMIDB), about_gb=0.3),
    "physionet_mi": Publisher(
        name="PhysioNet", listing=physionet(EEGMMIDB), about_gb=1.7
    ),
    "chbmit": Publisher(
        name="PhysioNet", listing=physionet("chbmit/1.0.0"), about_gb=40.0
    ),
    "shu_mi": Publisher(
        name="figshare",
        # Versions 2 and 3 are encrypted; the password is the authors' to give.
        listing=figshare(19228725, 1, inside="shu_mi/mat", archive="mat.zip"),
        arrange=lambda spec, member, _: below(
            spec, f"shu_mi/mat/{PurePosixPath(member).name.lower()}"
        ),
    ),
    "isruc": Publisher(
        name="ISRUC-Sleep", listing=isruc("subgroupI"), arrange=in_its_folder
    ),
    "isruc_s3": Publisher(
        name="ISRUC-Sleep", listing=isruc("subgroupIII"), arrange=in_its_folder
    ),
    "bcic2020": Publisher(name="OSF", listing=osf("pq7vb", sheet="n3a2p")),
}

# Open, and of terabytes: for its publisher's own tools.
OPEN_BY_HAND = ("hbn",)
# Step by step, for sets whose publishers ask to be asked, and for those.
BY_HAND: dict[str, tuple[str, ...]] = {
    "faced": (
        "Make an account at synapse.org, and accept the conditions of use of "
        "https://www.synapse.org/Synapse:syn50614194.",
        "Get the processed data there (syn50615881): Processed_data/sub000.pkl … "
        "sub122.pkl, 123 files. The raw recordings are not needed.",
        "Put them into {root}/faced/Processed_data/.",
    ),
    "seedv": (
        "Fill in and sign the licence agreement of "
        "https://bcmi.sjtu.edu.cn/home/seed/seed-v.html, and apply for SEED-V there.",
        "Of what you are given, EEG_raw/ is needed: 48 files "
        "SUBJECT_SESSION_DATE.cnt, and 7_1_20180411_repaired.cnt where it lies beside "
        "them: the plain 7_1_20180411.cnt has a damaged header.",
        "Put them into {root}/seedv/EEG_raw/.",
    ),
    "tuev": (
        "Fill in and sign the form at "
        "https://isip.piconepress.com/projects/nedc/html/tuh_eeg/; you are sent a name "
        "and a password.",
        "Get TUEV (tuh_eeg_events) {release}: edf/train/ and edf/eval/, every .edf "
        "with its .rec. Other releases give other counts.",
        "Put both folders into {root}/tuev/edf/.",
    ),
    "tueg": (
        "Fill in and sign the form at "
        "https://isip.piconepress.com/projects/nedc/html/tuh_eeg/; you are sent a name "
        "and a password.",
        "Get TUEG (tuh_eeg) v2.0.1: edf/, or some of its groups of patients 000 … 150.",
        "Put them into {root}/tueg/edf/.",
    ),
    "hbn": (
        "Choose releases among ds005505 … ds005516 at https://openneuro.org; the "
        "fourth, ds005508, has some 230 GB.",
        "Get them with OpenNeuro's command line, DataLad, or 'aws s3 sync "
        "--no-sign-request s3://openneuro.org/ds005505 {root}/hbn/ds005505'; the .set "
        "files are enough, and any part of them will do.",
        "They lie in {root}/hbn/ds005505/sub-…/eeg/ then.",
    ),
}


def steps_by_hand(spec: DatasetSpec, root: Path) -> list[str]:
    """Say, step by step, how to get a set that is not open."""
    name = unfolded(spec.name).removesuffix(FILTERED)
    family, _, variant = name.partition("@")
    steps = BY_HAND.get(family)
    if steps is None:
        return [spec.access.replace("<root>", str(root))]
    release = f"v{variant}" if variant[:1].isdigit() else "v2.0.0"
    return [step.format(root=root, release=release) for step in steps]
