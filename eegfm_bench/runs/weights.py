"""What became of a file of weights, tensor by tensor.

From: ``weights.loading``. To: the record of every run that started from the file, and
the ``weights`` verb. Plain data, without torch.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from eegfm_bench.runs.spec import short_hash


class PretrainedOn(BaseModel):
    """What an encoder that ``pretrain`` made has seen.

    Attributes
    ----------
    pretrain_id, objective : str
    data : str
        ``simulated`` if any source was, else ``partial`` if any was, else ``complete``.
    sources : tuple of str
        Name, protocol, data and fingerprint of each.
    n_persons : int
        People in all of them together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pretrain_id: str
    objective: str
    data: Literal["complete", "partial", "simulated"]
    sources: tuple[str, ...]
    n_persons: int


class LoadReport(BaseModel):
    """Which tensors of a model's encoder a file gave, and which it did not.

    Every tensor of the encoder is in one of four: as it is in the file (counted by
    ``matched``), ``reshaped``, ``missing`` or ``fresh``.

    Attributes
    ----------
    file : str
        The file's name, without its folder.
    sha256 : str
        Of the file.
    layout : str
        Whose names the tensors have; ``own`` is the model's ``state_dict``.
    container : str
        What the tensors were wrapped in, and what lay beside them.
    n_encoder : int
        Tensors of the encoder: parameters, and buffers that are saved.
    matched : int
        Those taken over in the shape they have.
    reshaped : tuple of str
        Those brought to another shape, and how.
    missing : tuple of str
        Those that the file lacks, or has in a shape that does not fit; and a line on
        channels, where filters go by their order and the file's are others.
    left_over : tuple of str
        Tensors of the file that nothing in the model is known to be.
    unused : int
        Tensors of the file that the encoder has no use for, as is known of them.
    fresh : tuple of str
        Tensors of the encoder that start anew by the source's own rule.
    cast : int
        Tensors taken over whose numbers had another precision in the file.
    channels : tuple of str
        Whose rows the file's table of channels was taken to have, where that is said
        beside the file and not known of its bytes.
    probe_difference : float or None
        Largest difference of features between the loaded encoder and its own random
        start on a few windows, in deviations of the features; None if not probed.
    pretrained : PretrainedOn or None
        What the encoder has seen, where ``pretrain`` wrote the file.
    corpora : tuple of str
        What it has seen by its authors' words, where the file is public weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    layout: str
    container: str
    n_encoder: int
    matched: int
    reshaped: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    unused: int = 0
    fresh: tuple[str, ...] = ()
    cast: int = 0
    channels: tuple[str, ...] = ()
    probe_difference: float | None = None
    pretrained: PretrainedOn | None = None
    corpora: tuple[str, ...] = ()

    @property
    def is_full(self) -> bool:
        """Whether nothing of the encoder is missing and nothing is left over."""
        return not self.missing and not self.left_over

    @property
    def weights_id(self) -> str:
        """Return what a run's ``init`` says.

        Examples
        --------
        >>> found = dict(file="a.pth", sha256="ab" * 32, layout="own",
        ...              container="safetensors", n_encoder=2)
        >>> LoadReport(**found, matched=2).weights_id
        'weights-abababababab'
        >>> LoadReport(**found, matched=1, missing=("b",)).weights_id
        'weights-abababababab+partial'
        """
        mark = "" if self.is_full else "+partial"
        if self.channels:  # the same bytes under other names are other numbers
            mark = f"+channels-{short_hash(','.join(self.channels))}{mark}"
        return f"weights-{self.sha256[:12]}{mark}"
