"""Lengths for which Fourier transforms are fast.

From: models that convolve in the frequency domain. To: how far they pad with zeros.
"""

from __future__ import annotations

import math


def fft_length(at_least: int) -> int:
    """Round up to 8 to 16 times a power of two, for which transforms are fast.

    Examples
    --------
    >>> fft_length(1000), fft_length(1023), fft_length(863)
    (1024, 1024, 896)
    """
    step = 2 ** max(0, int(math.log2(at_least)) - 3)
    return 2 * math.ceil(at_least / (2 * step)) * step
