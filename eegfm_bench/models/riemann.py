"""Riemann: covariances in a few bands as points of a tangent space, one linear layer.

The honest classical rival. From: batch (B, C, T) in µV. To: logits (B, K).

Papers: Barachant, Bonnet, Congedo and Jutten 2012, "Multiclass brain-computer interface
classification by Riemannian geometry", IEEE Trans. Biomed. Eng. 59, 920-928, doi
10.1109/TBME.2011.2172210; Chen, Wiesel, Eldar and Hero 2010, "Shrinkage algorithms for
MMSE covariance estimation", IEEE Trans. Signal Process. 58, 5016-5029 (OAS). Code:
pyriemann, whose ``TangentSpace`` finds the mean here; the rest is written from the
papers, and equals pyriemann's. Licence: BSD-3-Clause.

Letters: B windows, C channels, T time points, N bands, F rows of a band (real and
imaginary parts of its frequencies), M windows behind the mean, D features, N times
C (C + 1) / 2, and K classes.

The road of a window: its spectrum is cut into bands; a band's covariance S is the sum
over its frequencies, which is the covariance of the band-passed signal; it is shrunk
towards a multiple of the identity, so that short windows of many channels, and averaged
references, still have a logarithm; W being the inverse root of the Riemannian mean of
the training part's covariances, the upper triangle of log(W S W) is the feature, its
entries beside the diagonal times the root of 2. The head is logistic regression, its
penalty chosen on the validation part. What differs from the source is in
``DIFFERENCES``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfm_bench.errors import SpecError
from eegfm_bench.models._spec import InputShape, Size, model
from eegfm_bench.runs.spec import ClosedFormRecipe

# µV²: below any amplifier's noise, so that silence has a logarithm.
FLOOR_UV2 = 1e-6

DIFFERENCES = (
    "Bands are cut out of the tapered window's spectrum, not filtered before windows "
    "are cut: a model sees windows alone. The Hann taper keeps slow drift out of the "
    "faster bands.",
    "Covariances are shrunk by OAS, counting two observations for each frequency of a "
    "band: a band-passed window has no more, however many time points it has.",
    "Three bands that cover 1 to 40 Hz, instead of one for motor imagery, 8 to 35 Hz: "
    "tasks are of all kinds.",
    "Of training parts larger than mean_windows, as many windows at equal distances "
    "give the mean: the reference point hardly moves, and much time is saved.",
    "Logistic regression weighs classes by their inverse frequency, as all heads that "
    "are solved for here do, and its penalty is chosen on the validation part.",
    "Neither subjects nor sessions are aligned to one another: no model is told whose "
    "window it sees.",
)


class Riemann(nn.Module):
    """Tangent vectors of shrunk band covariances, with a linear head.

    Parameters
    ----------
    shape : InputShape
    bands_hz : tuple of pairs
        Lower border, included, and upper border, excluded.
    mean_windows : int
        At most as many training windows give the mean.

    Attributes
    ----------
    whiten_NCC : tensor (N, C, C)
        Inverse square root of each band's mean; the identity until fitted.
    """

    taper_T: Tensor
    whiten_NCC: Tensor

    def __init__(
        self,
        shape: InputShape,
        *,
        bands_hz: tuple[tuple[float, float], ...],
        mean_windows: int,
    ) -> None:
        super().__init__()
        self.mean_windows = mean_windows
        step_hz = shape.rate_hz / shape.n_times
        # The frequencies 0 and rate / 2 have one real part each, and no imaginary one.
        last = (shape.n_times - 1) // 2
        self.bins = []
        for lo, hi in bands_hz:
            first, end = max(1, math.ceil(lo / step_hz)), math.ceil(hi / step_hz)
            if end - 1 > last or first >= end:
                raise SpecError(
                    f"riemann cannot serve this shape: a window of {shape.n_times} "
                    f"time points at {shape.rate_hz:g} Hz has no whole band of {lo:g} "
                    f"to {hi:g} Hz. Choose other bands."
                )
            self.bins.append((first, end))
        C, N = shape.n_channels, len(bands_hz)
        taper_T = torch.hann_window(shape.n_times, dtype=torch.float64)
        # Then rows of a spectrum, times their transpose, are µV².
        taper_T *= (2 / (shape.n_times * taper_T.square().sum())).sqrt()
        self.register_buffer("taper_T", taper_T, persistent=False)
        eye_NCC = torch.eye(C, dtype=torch.float64).expand(N, C, C)
        self.register_buffer("whiten_NCC", eye_NCC.clone())
        self.head = nn.Linear(N * C * (C + 1) // 2, shape.n_classes)

    def covariances(self, x_BCT: Tensor) -> Tensor:
        """Return each band's shrunk covariance (B, N, C, C), float64, in µV²."""
        spectrum_BCF = torch.fft.rfft(x_BCT.double() * self.taper_T.double())
        rows_BCF = torch.view_as_real(spectrum_BCF).flatten(2)
        return torch.stack(
            [shrunk(rows_BCF[..., 2 * first : 2 * end]) for first, end in self.bins],
            dim=1,
        )

    @torch.no_grad()
    def fit_features(self, x_batches: Iterable[Tensor], y: Tensor) -> None:
        """Take the Riemannian mean of the training part's covariances.

        Parameters
        ----------
        x_batches : iterable of tensors (B, C, T)
            The training windows in µV.
        y : tensor (N,)
            Their labels, of which only the number is used.
        """
        # Imported when asked for: it takes seconds.
        from pyriemann.tangentspace import TangentSpace
        from threadpoolctl import threadpool_limits

        n = min(len(y), self.mean_windows)
        kept = {i * len(y) // n for i in range(n)}
        found, start = [], 0
        for x_BCT in x_batches:
            rows = [i for i in range(len(x_BCT)) if start + i in kept]
            start += len(x_BCT)
            if rows:
                found.append(self.covariances(x_BCT[rows]).cpu())
        covariances_MNCC = torch.cat(found)
        for band, whiten_CC in enumerate(self.whiten_NCC):
            # Threads that share thousands of small matrices wait for one another:
            # beside other runs, two were six times slower than one.
            with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
                # Any point near the mean serves as the reference; it is kept.
                warnings.filterwarnings("ignore", "Convergence not reached")
                space = TangentSpace(metric="riemann").fit(
                    covariances_MNCC[:, band].numpy()
                )
            values_C, vectors_CC = np.linalg.eigh(space.reference_)
            inverse_root_CC = (vectors_CC / np.sqrt(values_C)) @ vectors_CC.T
            whiten_CC.copy_(torch.from_numpy(inverse_root_CC))

    def features(self, x_BCT: Tensor) -> Tensor:
        """Return tangent vectors (B, D) of windows (B, C, T) in µV."""
        with torch.autocast(x_BCT.device.type, enabled=False):
            whiten_NCC = self.whiten_NCC.double()
            white_BNCC = whiten_NCC @ self.covariances(x_BCT) @ whiten_NCC
            # The two triangles of the product differ by rounding.
            white_BNCC = (white_BNCC + white_BNCC.mT) / 2
            values_BNC, vectors_BNCC = torch.linalg.eigh(white_BNCC)
            logs_BNC = values_BNC.clamp_min(torch.finfo(values_BNC.dtype).tiny).log()
            log_BNCC = (vectors_BNCC * logs_BNC.unsqueeze(-2)) @ vectors_BNCC.mT
            row, column = torch.triu_indices(*log_BNCC.shape[-2:], device=x_BCT.device)
            # Each entry beside the diagonal stands for two.
            times_D = 2 - (row == column).to(log_BNCC.dtype)
            tangent_BND = log_BNCC[..., row, column] * times_D.sqrt()
        return tangent_BND.flatten(1).to(x_BCT.dtype)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return logits (B, K) of windows (B, C, T) in µV."""
        logits_BK: Tensor = self.head(self.features(x_BCT))
        return logits_BK


def shrunk(rows_BCF: Tensor) -> Tensor:
    """Return covariances, shrunk by the oracle approximation (OAS).

    Parameters
    ----------
    rows_BCF : tensor (B, C, F)
        F observations of mean zero.

    Returns
    -------
    covariance_BCC : tensor (B, C, C)
        (1 - ρ) S + ρ tr(S) / C with S the sum over F, and a floor on the diagonal.

    Examples
    --------
    >>> shrunk(torch.tensor([[[3.0, 0.0], [0.0, 3.0]]])).round(decimals=3).tolist()
    [[[9.0, 0.0], [0.0, 9.0]]]
    """
    _, C, F = rows_BCF.shape
    sum_BCC = rows_BCF @ rows_BCF.mT
    eye_CC = torch.eye(C, dtype=sum_BCC.dtype, device=sum_BCC.device)
    level_B = sum_BCC.diagonal(dim1=-2, dim2=-1).mean(-1)
    square_B = sum_BCC.square().mean((-2, -1))
    # Nothing is left to shrink where S is a multiple of the identity, as in silence.
    spread_B = (F + 1) * (square_B - level_B.square() / C)
    tiny = torch.finfo(spread_B.dtype).tiny
    share_B = (square_B + level_B.square()) / spread_B.clamp_min(tiny)
    share_B11 = share_B.clamp_max(1.0)[:, None, None]
    target_BCC = level_B[:, None, None] * eye_CC
    return (1 - share_B11) * sum_BCC + share_B11 * target_BCC + FLOOR_UV2 * eye_CC


def read_bands(text: Any) -> tuple[tuple[float, float], ...]:
    """Read bands in Hz, such as ``"1-8,8-13"``.

    Raises
    ------
    SpecError
        If it is not a list of bands, or a band ends before it begins.

    Examples
    --------
    >>> read_bands("1-8, 8-13")
    ((1.0, 8.0), (8.0, 13.0))
    """
    try:
        bands = tuple(
            (float(lo), float(hi))
            for lo, hi in (band.split("-") for band in str(text).split(","))
        )
    except ValueError:
        bands = ()
    if not bands or not all(0 < lo < hi < math.inf for lo, hi in bands):
        raise SpecError(
            f"bands of riemann is {text!r}; expected bands in Hz, each from a lower to "
            f"a higher border above 0, such as '1-8,8-13'."
        )
    return bands


def _checked(options: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """Return all options in one spelling, or refuse what no shape can have."""
    windows = options["mean_windows"]
    if not isinstance(windows, int) or isinstance(windows, bool) or windows < 1:
        raise SpecError(
            f"mean_windows of riemann is {windows!r}; expected a whole number, 1 or "
            f"more."
        )
    bands = ",".join(f"{lo:g}-{hi:g}" for lo, hi in read_bands(options["bands"]))
    return {**options, "bands": bands}


# Tangent vectors have a common scale and a meaningful length: no feature is
# standardised, as in the papers. Validation AUROC on EEGMAT and eyes, each with part of
# the subjects: 0.92 and 0.84; standardised, 0.78 and 0.88; with the band 4 to 40 Hz
# alone, 0.92 and 0.78; with the five customary bands, 0.92 and 0.85.
RECIPE = ClosedFormRecipe(
    solver="logistic",
    standardise=False,
    penalties=tuple(10.0**k for k in range(-5, 4)),
)


@model(
    title="Riemann",
    trained_by="closed_form",
    recipes={"paper": RECIPE, "small": RECIPE},
    reference="Barachant et al. 2012, IEEE Trans. Biomed. Eng. 59, 920-928",
    licence="BSD-3-Clause",
    code="https://github.com/pyRiemann/pyRiemann",
    is_seeded=False,
    input_scale="none: covariances in µV², whitened by the training part's mean",
    channel_use="by their order, and all pairs of them: names are not read",
    differences=DIFFERENCES,
    sizes={
        "paper": Size(encoder=0, head=818, flops=474_720),
        "small": Size(encoder=0, head=818, flops=474_720),
    },
    check=_checked,
)
def riemann(
    shape: InputShape,
    *,
    scale: str,
    bands: str = "1-8,8-13,13-40",
    mean_windows: int = 2000,
) -> Riemann:
    """Three bands from 1 to 40 Hz, tangent space at the training mean."""
    return Riemann(shape, bands_hz=read_bands(bands), mean_windows=mean_windows)
