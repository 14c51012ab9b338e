"""Which weights a family has in public, and how their tensors are called.

From: a model's file. To: ``weights``, which reads files and loads them. Plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicWeights:
    """One file of weights that anybody may download.

    Attributes
    ----------
    key : str
        What it is asked for by: ``--weights hub:KEY``; a family's first is ``hub``.
    file : str
        Its path within the repository.
    hub : str
        Repository on the Hugging Face hub; empty if it lies elsewhere.
    url : str
        Where it is downloaded from, if not from the hub.
    revision : str
        Commit or tag of the repository.
    layout : str
        The ``Layout`` its tensors are named in.
    licence : str
    source : str
        Who states these facts.
    sha256, git_blob : str
        Its checksum, or git's name of its bytes, where either is stated; else empty.
    pretrained_on : tuple of str
        Corpora, as their authors name them.
    channels : tuple of str
        Whose rows the file's tables of channels have, where it has any.
    options : mapping
        Options of the model that the file needs, where not the defaults.
    """

    key: str
    file: str
    layout: str
    licence: str
    source: str
    hub: str = ""
    url: str = ""
    revision: str = "main"
    sha256: str = ""
    git_blob: str = ""
    pretrained_on: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one kind of file names what this model's encoder holds.

    Attributes
    ----------
    name : str
        ``own`` is the model's ``state_dict``; others are named after who writes them.
    renames : tuple of (ours, theirs)
        Prefixes. The first whose ``ours`` a name begins with is replaced; a name that
        none fits is called the same.
    unused : tuple of str
        Prefixes of theirs that the encoder has no use for: what was of pre-training
        alone, and their heads.
    fresh : tuple of str
        Prefixes of ours that start anew although weights are loaded, as in the source.
    """

    name: str
    renames: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()

    def theirs(self, name: str) -> str:
        """Return what the file calls a tensor of ours.

        Examples
        --------
        >>> Layout(name="x", renames=(("net.", ""), ("", "m."))).theirs("net.a.weight")
        'a.weight'
        """
        for ours, theirs in self.renames:
            if name.startswith(ours):
                return theirs + name.removeprefix(ours)
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """Whose rows a table of channels has: in the model, and in the file.

    Attributes
    ----------
    ours : tuple of str
        The model's, in the order of its rows.
    theirs : tuple of str
        The file's; empty where nobody says.
    """

    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshaped:
    """A tensor of a file, brought to the model's shape.

    Attributes
    ----------
    tensor : tensor
        Of the model's shape.
    how : str
        What was done, in plain words; empty if the file's tensor is as it was.
    """

    tensor: Tensor
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a family's file says about weights.

    Attributes
    ----------
    public : tuple of PublicWeights
        The first is what ``--weights hub`` takes.
    layouts : tuple of Layout
        Beside ``own``, which every model has.
    reshape : function of (our name, their tensor, our tensor, Channels), optional
        Brings a tensor of another shape to ours where that keeps its meaning (a table
        of positions with fewer rows), or returns None: it does not fit.
    by_channel : tuple of str
        Our tensors with a row for each channel. ``reshape`` is asked for them even if
        shapes agree: rows in another order of channels would be wrong in silence.
    any_channels : bool
        Whether the encoder's weights are for channels of any names in any order, so
        that they may come from others. Without it, and without tables ``by_channel``, a
        file that names other channels, as many, does not fit.
    lora : tuple of str
        Regular expressions of the encoder's linear layers that LoRA adapts.
    """

    public: tuple[PublicWeights, ...] = ()
    layouts: tuple[Layout, ...] = ()
    reshape: Callable[[str, Tensor, Tensor, Channels], Reshaped | None] | None = None
    by_channel: tuple[str, ...] = ()
    any_channels: bool = False
    lora: tuple[str, ...] = ()

    def known(self, *, sha256: str = "", git_blob: str = "") -> PublicWeights | None:
        """Return the public file that has one of these checksums, if any has."""
        for weights in self.public:
            if sha256 and weights.sha256 == sha256:
                return weights
            if git_blob and weights.git_blob == git_blob:
                return weights
        return None


# The 10-20 system's old names of four electrodes.
NEW_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}


def alike(channel: str) -> str:
    """Return a channel's name as names are compared: in capitals, electrodes by new.

    Examples
    --------
    >>> alike("Fp1-F7"), alike("F7-T3") == alike("F7-T7")
    ('FP1-F7', True)
    """
    parts = channel.strip().upper().split("-")
    return "-".join(NEW_NAMES.get(part, part) for part in parts)


def rows_by_channel(
    theirs: Tensor, ours: Tensor, channels: Channels
) -> Reshaped | None:
    """Fill a table with one row for each channel from one of other channels.

    Parameters
    ----------
    theirs, ours : tensor (rows, D)
        The file's table and the model's, whose rows stay where the file has none.
    channels : Channels
        Names count; where the file's are not known, rows go by position if there are
        equally many, and nothing fits if not.

    Returns
    -------
    reshaped : Reshaped or None
    """
    n_theirs, n_ours = len(theirs), len(ours)
    if theirs.shape[1:] != ours.shape[1:] or len(channels.ours) != n_ours:
        return None
    if not channels.theirs:
        if n_theirs != n_ours:
            return None
        how = f"{n_ours} rows by position: nobody says which channels the file has"
        return Reshaped(tensor=theirs, how=how)
    if len(channels.theirs) != n_theirs:
        return None
    at = {alike(name): row for row, name in enumerate(channels.theirs)}
    rows = [at.get(alike(name)) for name in channels.ours]
    if rows == list(range(n_theirs)):
        return Reshaped(tensor=theirs, how="")
    table = ours.detach().clone()
    for row, found in enumerate(rows):
        if found is not None:
            table[row] = theirs[found]
    anew = [
        name for name, found in zip(channels.ours, rows, strict=True) if found is None
    ]
    how = "rows by channel"
    return Reshaped(tensor=table, how=f"{how}, {started_anew(anew)}" if anew else how)


def rows_by_place(theirs: Tensor, ours: Tensor) -> Reshaped:
    """Fill a table whose rows are numbered, such as seconds, from a file's.

    Parameters
    ----------
    theirs, ours : tensor (1, rows, D)
        The file's table and the model's, whose rows stay where the file has none.

    Returns
    -------
    reshaped : Reshaped
    """
    n_theirs, n_ours = theirs.shape[1], ours.shape[1]
    n_both = min(n_theirs, n_ours)
    if n_theirs == n_ours:
        return Reshaped(tensor=theirs, how="")
    table = ours.detach().clone()
    table[:, :n_both] = theirs[:, :n_both]
    first, last = n_both + 1, max(n_theirs, n_ours)
    rows = f"row {first}" if first == last else f"rows {first} to {last}"
    done = "started anew" if n_ours > n_theirs else "left out"
    return Reshaped(tensor=table, how=f"{rows} {done}")


def started_anew(channels: Sequence[str]) -> str:
    """Return which channels' rows a file does not have, in words."""
    return f"{len(channels)} started anew: {', '.join(channels)}"
