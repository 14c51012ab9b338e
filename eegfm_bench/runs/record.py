"""The answer: scores, cost and provenance of one run, or why there is none.

From: ``training.fit`` (or the launcher, when a worker died). To: one
``record.json`` per run, and from there tables, gates and exports.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eegfm_bench.errors import StoreError
from eegfm_bench.runs.spec import AS_STORED, RunSpec
from eegfm_bench.runs.weights import LoadReport

Scores = dict[str, dict[str, float | None]]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Checkpoint(_Part):
    """Which state of the model was tested, and by which rule it was chosen.

    ``rule`` reads "highest val auroc", "closed form, penalty by val auroc" or
    "none: nothing is chosen"; ``epoch`` counts from 1.
    """

    rule: str
    epoch: int | None = None
    val_score: float | None = None
    chosen: dict[str, float] = Field(default_factory=dict)


class Cost(_Part):
    """What the run took. Seconds of wall time, bytes, counts.

    ``flops_per_window`` counts the floating-point operations of one window's forward
    pass (a multiplication and an addition are two); ``latency_ms`` is the median time
    of one such pass on the run's device and threads, one window (or one sequence, where
    windows are judged so) at a time. Either is None in records from before it was
    taken, or with its reason in ``not_taken`` under its name.
    """

    total_s: float
    fit_s: float
    test_s: float
    peak_memory_bytes: int
    n_parameters: int
    n_parameters_head: int
    window_passes: int
    n_windows: dict[str, int]
    flops_per_window: int | None = None
    latency_ms: float | None = None
    not_taken: dict[str, str] = Field(default_factory=dict)

    @property
    def n_parameters_encoder(self) -> int:
        """Number of parameters of all but the head."""
        return self.n_parameters - self.n_parameters_head


class LabelBudget(_Part):
    """Which share of the training part was used; validation and test stay whole.

    ``windows`` counts those drawn of each class by name, ``of_windows`` those there
    are; ``subjects`` are those with a window drawn.
    """

    asked: str
    windows: dict[str, int]
    of_windows: dict[str, int]
    subjects: int
    of_subjects: int


class Adaptation(_Part):
    """What of the model was trained, and the proof that the rest was not.

    ``trained`` and ``frozen`` count parameters. ``frozen_sha256`` is of every frozen
    parameter and buffer of the encoder, bytes in the order of names, equal before and
    after; None where nothing is frozen. ``frozen_tensors`` is how many there are.
    """

    trained: int
    frozen: int
    frozen_tensors: int = 0
    frozen_sha256: str | None = None
    labels: LabelBudget | None = None


class Provenance(_Part):
    """Where and with what the run was made; nothing here changes its name.

    ``arithmetic`` is the processor's instruction set as torch used it: another
    one rounds differently.
    """

    finished_at: str
    package_version: str
    git_commit: str | None
    packages: dict[str, str]
    python: str
    platform: str
    processor: str
    arithmetic: str
    device: str
    n_threads: int
    absent_subjects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Failure(_Part):
    """Why a cell has no scores."""

    kind: str
    message: str
    traceback: str = ""


class RunRecord(_Part):
    """A spec with either all of scores, checkpoint, cost and provenance, or a failure.

    ``scores`` maps part to metric to a number, or to None; each None has its
    reason in ``reasons`` under the same part and metric. ``weights`` says what was
    loaded, ``adaptation`` what was trained; a run from scratch on all labels has none.
    """

    record_version: Literal[1] = 1
    run_id: str
    cell_id: str
    spec: RunSpec
    scores: Scores | None = None
    reasons: dict[str, dict[str, str]] = Field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    cost: Cost | None = None
    provenance: Provenance | None = None
    weights: LoadReport | None = None
    adaptation: Adaptation | None = None
    failure: Failure | None = None

    @model_validator(mode="after")
    def _whole(self) -> RunRecord:
        answer = (self.scores, self.checkpoint, self.cost, self.provenance)
        if self.failure is None and any(part is None for part in answer):
            raise ValueError(
                "a record without a failure needs scores, checkpoint, "
                "cost and provenance"
            )
        if self.failure is not None and self.scores is not None:
            raise ValueError("a record holds scores or a failure, not both")
        if (self.run_id, self.cell_id) != (self.spec.run_id, self.spec.cell_id):
            raise ValueError(
                f"run_id '{self.run_id}' is not that of its spec, '{self.spec.run_id}'"
            )
        for part, metrics in (self.scores or {}).items():
            for metric, value in metrics.items():
                if value is None and metric not in self.reasons.get(part, {}):
                    raise ValueError(f"{part} {metric} is missing without a reason")
        return self

    @classmethod
    def failed(cls, spec: RunSpec, failure: Failure) -> RunRecord:
        """Record that a spec could not be answered."""
        return cls(run_id=spec.run_id, cell_id=spec.cell_id, spec=spec, failure=failure)

    @property
    def is_done(self) -> bool:
        """Whether there are scores."""
        return self.failure is None

    def to_json(self) -> str:
        """Write the record as indented JSON with a final newline."""
        fields = self.model_dump(mode="json", exclude_none=False)
        for key in ("weights", "adaptation"):  # of a run from scratch there are none
            if fields[key] is None:
                del fields[key]
        if self.failure is None:
            del fields["failure"]
        else:
            for key in ("scores", "reasons", "checkpoint", "cost", "provenance"):
                if not fields[key]:
                    del fields[key]
        return json.dumps(fields, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> RunRecord:
        """Read a record.

        Raises
        ------
        StoreError
            If the text is not a whole record; ``where`` names it.
        """
        try:
            fields: Any = json.loads(text)
            return cls.model_validate(fields, context=AS_STORED)
        except (ValueError, ValidationError) as error:
            reason = str(error).splitlines()
            raise StoreError(
                f"The record {where} cannot be read: {' '.join(reason[:3])}. "
                f"Delete its folder, or run the cell again with --force."
            ) from error
