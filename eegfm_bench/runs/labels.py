"""How many labels a run may learn from: a share, or so many of each class.

From: ``--labels 10%`` or ``--labels 8/class``. To: one spelling for the spec, and
numbers for ``training.budget``, which draws the windows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from eegfm_bench.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A budget: either ``percent`` of the training part, or ``per_class`` windows."""

    percent: float | None = None
    per_class: int | None = None

    def __str__(self) -> str:
        if self.percent is not None:
            # Never with an exponent, which is not read back.
            return f"{self.percent:.10f}".rstrip("0").rstrip(".") + "%"
        return f"{self.per_class}/class"


def parse_labels(text: str) -> Labels:
    """Read a budget of labels.

    Raises
    ------
    SpecError
        If the text is not a share above 0 and up to 100 per cent, nor a whole number
        of windows of each class.

    Examples
    --------
    >>> str(parse_labels("10.0 %")), str(parse_labels("08/class"))
    ('10%', '8/class')
    """
    said = f"--labels is '{text}'"
    share = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*%\s*", text)
    each = re.fullmatch(r"\s*(\d+)\s*/\s*class\s*", text)
    if share is None and each is None:
        raise SpecError(
            f"{said}; expected a share of the training windows, such as 10%, or a "
            f"number of them for each class, such as 8/class."
        )
    if share is not None:
        percent = round(float(share[1]), 10)  # as many places as are written
        if not 0 < percent <= 100:
            raise SpecError(f"{said}; choose a share above 0% and up to 100%.")
        return Labels(percent=percent)
    assert each is not None
    if int(each[1]) < 1:
        raise SpecError(f"{said}; choose at least 1/class.")
    return Labels(per_class=int(each[1]))


def canonical_labels(text: str | None) -> str | None:
    """Return a budget in one spelling; None where all labels may be used.

    Examples
    --------
    >>> canonical_labels("100%"), canonical_labels("2.50%")
    (None, '2.5%')
    """
    if text is None:
        return None
    labels = parse_labels(text)
    return None if labels.percent == 100 else str(labels)
