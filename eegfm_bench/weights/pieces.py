"""Which tensors a saved model's file holds, and by what names.

From: a module, and braindecode's class of it where there is one. To: ``folder``, which
writes them and finds them again. Names are those of the model of single windows, as
other systems have them; what only this suite has, beside braindecode's names or around
a sequence, begins with ``eegfm_bench.``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eegfm_bench.errors import WeightsError
from eegfm_bench.models._probed import Probed
from eegfm_bench.models._sequence import SequenceHead
from eegfm_bench.weights.counterparts import Counterpart, innermost
from eegfm_bench.weights.matching import OURS

MOST_NAMES = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor of the file.

    Attributes
    ----------
    name : str
        In the file.
    ours : str or None
        In the module's ``state_dict``; None is a constant.
    n_rows : int or None
        As many rows of a table (1, rows, D) as braindecode's class has; the whole
        table is another piece.
    constant : tensor or None
    """

    name: str
    ours: str | None = None
    n_rows: int | None = None
    constant: Tensor | None = None


def pieces(model: nn.Module, found: Counterpart | None = None) -> list[Piece]:
    """List a file's tensors; each of the module's is whole in one of them.

    Parameters
    ----------
    model : nn.Module
        Of single windows, or what is around it: ``InSequence``, ``Probed``.
    found : Counterpart, optional
        Gives braindecode's names, tables and constants; without, names are ours.
    """
    head = getattr(model, "head", None)
    of_head = set() if head is None else {id(t) for t in tensors_of(head).values()}
    prefix = innermost(model)[1]
    is_new_head = isinstance(model, Probed) or isinstance(head, SequenceHead)
    pieces_: list[Piece] = []
    for key, tensor in tensors_of(model).items():
        if prefix and not key.startswith(prefix):
            # Without training, it is the head that single windows have.
            pieces_ += [Piece(OURS + key, key)] if is_new_head else []
            continue
        is_head = id(tensor) in of_head
        if is_new_head and is_head:
            continue  # the same, where a model's own loss goes by it
        name = key.removeprefix(prefix)
        if found is None:
            pieces_.append(Piece(name, key))
        elif is_head:
            pieces_.append(Piece(_of_head(name, found), key))
        elif name in found.rows:
            theirs = found.layout.theirs(name)
            pieces_ += [Piece(theirs, key, found.rows[name]), Piece(OURS + name, key)]
        else:
            pieces_.append(Piece(found.layout.theirs(name), key))
    if found is not None:
        pieces_ += [Piece(k, constant=v) for k, v in found.constants.items()]
    return pieces_


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's persistent state, its own tensors.

    Raises
    ------
    WeightsError
        If it keeps anything else, which a file of tensors could not hold.
    """
    state = module.state_dict(keep_vars=True)
    other = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if other:
        raise WeightsError(
            f"The state of {type(module).__name__} holds what is no tensor "
            f"({few(other)}), which a file of tensors cannot keep. Register it as a "
            f"buffer."
        )
    return dict(state)


def to_file(model: nn.Module, pieces_: list[Piece]) -> dict[str, Tensor]:
    """Return a file's tensors: copies on the CPU, none sharing memory."""
    state = tensors_of(model)
    tensors = {}
    for piece in pieces_:
        tensor = piece.constant if piece.ours is None else state[piece.ours]
        assert tensor is not None
        tensor = tensor.detach().cpu()
        if piece.n_rows is not None:
            rows = tensor[:, : piece.n_rows]
            n_more = piece.n_rows - rows.shape[1]
            # A row that their table has beyond ours, and no window reaches.
            tensor = torch.cat((rows, rows.new_zeros(1, n_more, rows.shape[2])), 1)
        tensors[piece.name] = tensor.clone(memory_format=torch.contiguous_format)
    return tensors


def from_file(
    model: nn.Module, pieces_: list[Piece], tensors: Mapping[str, Tensor]
) -> None:
    """Put a file's tensors into a module, and prove that all of them are there.

    Raises
    ------
    WeightsError
        If one is missing, left over, or of another shape or kind; then the module is
        as it was. If what is in the module afterwards is not the file.
    """
    expected = to_file(model, pieces_)
    problems = {
        "missing": [name for name in expected if name not in tensors],
        "left over": [name for name in tensors if name not in expected],
        "of another shape": [
            f"{name}: {_written(tensors[name])}, not {_written(tensor)}"
            for name, tensor in expected.items()
            if name in tensors and _written(tensors[name]) != _written(tensor)
        ],
    }
    said = [f"{len(n)} {what} ({few(n)})" for what, n in problems.items() if n]
    if said:
        raise WeightsError(
            f"The tensors are not those of the model that is described: "
            f"{'; '.join(said)}. Take all files from one folder, as it was saved."
        )
    state = tensors_of(model)
    # By identity: a head that stands in two places is in the file once.
    whole = {
        id(state[piece.ours]): tensors[piece.name]
        for piece in pieces_
        if piece.ours is not None and piece.n_rows is None
    }
    model.load_state_dict({key: whole[id(t)] for key, t in state.items()}, strict=True)
    now = to_file(model, pieces_)
    other = [name for name, tensor in now.items() if not _same(tensor, tensors[name])]
    if other:
        raise WeightsError(
            f"{len(other)} tensors of the file contradict others in it, or are not in "
            f"the model after loading: {few(other)}. Take the folder as it was saved."
        )


def few(names: list[str]) -> str:
    """Join the first few names."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _of_head(name: str, found: Counterpart) -> str:
    for ours, theirs in found.head:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return OURS + name


def _written(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _same(found: Tensor, wanted: Tensor) -> bool:
    return torch.equal(_bytes(found), _bytes(wanted))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
