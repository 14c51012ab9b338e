"""Riemann against pyriemann's covariances, mean and tangent space, and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from sklearn.linear_model import LogisticRegression

from eegfm_bench.models import riemann as family
from eegfm_bench.models._spec import build
from eegfm_bench.models.riemann import FLOOR_UV2, Riemann
from eegfm_bench.runs.spec import ClosedFormRecipe
from eegfm_bench.training.closed_form import softmax, solve_head

pytestmark = pytest.mark.parity

BANDS = "1-8,8-13,13-40"
# Channels and time points; the last two have more channels than a band has rows.
SHAPES = [(6, 2000), (20, 1000), (20, 200), (40, 200)]
N = 24


def ours(n_channels: int, n_times: int, **options: Any) -> Riemann:
    torch.manual_seed(0)
    return build(
        "riemann",
        channels=[f"c{i}" for i in range(n_channels)],
        n_times=n_times,
        rate_hz=200.0,
        n_classes=2,
        **options,
    )


def eeg(n_channels: int, n_times: int, n: int = N, seed: int = 0) -> torch.Tensor:
    """Mixed noise (B, C, T) of some 20 µV, float64; odd windows are mixed otherwise."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(2, n_channels, n_channels))
    white = random.normal(size=(n, n_channels, n_times))
    mixed = mixing[np.arange(n) % 2] * 0.2 + np.eye(n_channels)
    return torch.from_numpy(20 * (mixed @ white))


def band_passed(x: np.ndarray, lo: float, hi: float) -> np.ndarray:
    """The tapered windows with all but one band's frequencies taken out."""
    n_times = x.shape[-1]
    taper = np.hanning(n_times + 1)[:-1]
    spectrum = np.fft.rfft(x * taper)
    freq_hz = np.fft.rfftfreq(n_times, 1 / 200)
    spectrum[..., (freq_hz < lo) | (freq_hz >= hi)] = 0
    return np.fft.irfft(spectrum, n_times) / np.sqrt((taper**2).mean())


def pyriemanns(x: np.ndarray) -> np.ndarray:
    """Covariances (B, N, C, C): each frequency of a band gives two observations."""
    n_times = x.shape[-1]
    taper = np.hanning(n_times + 1)[:-1]
    spectrum = np.fft.rfft(x * taper) * np.sqrt(2 / (n_times * (taper**2).sum()))
    freq_hz = np.fft.rfftfreq(n_times, 1 / 200)
    found = []
    for lo, hi in family.read_bands(BANDS):
        inside = spectrum[..., (freq_hz >= lo) & (freq_hz < hi)]
        rows = np.concatenate([inside.real, inside.imag], axis=-1)
        rows *= np.sqrt(rows.shape[-1])  # pyriemann divides by their number
        estimator = Covariances(estimator="oas", assume_centered=True)
        found.append(estimator.fit_transform(rows))
    return np.stack(found, axis=1) + FLOOR_UV2 * np.eye(x.shape[1])


def close(found: Any, expected: Any, rtol: float) -> None:
    """Compare in units of the largest entry."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert np.abs(found - expected).max() <= rtol * np.abs(expected).max()


@pytest.mark.parametrize(("n_channels", "n_times"), SHAPES)
def test_covariances_are_pyriemanns(n_channels: int, n_times: int) -> None:
    x = eeg(n_channels, n_times)
    found = ours(n_channels, n_times).covariances(x)
    close(found, pyriemanns(x.numpy()), 1e-12)


def test_a_bands_covariance_is_that_of_the_band_passed_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(family, "shrunk", lambda rows: rows @ rows.mT)
    x = eeg(6, 1000)
    found = ours(6, 1000).covariances(x)
    for band, (lo, hi) in enumerate(family.read_bands(BANDS)):
        signal = band_passed(x.numpy(), lo, hi)
        expected = Covariances(estimator="scm").fit_transform(signal)
        close(found[:, band], expected, 1e-10)


@pytest.mark.parametrize(("n_channels", "n_times"), SHAPES)
def test_mean_and_tangent_vectors_are_pyriemanns(n_channels: int, n_times: int) -> None:
    x, other = eeg(n_channels, n_times), eeg(n_channels, n_times, seed=1)
    model = ours(n_channels, n_times)
    # Batches of 16 and 8, as training would give them.
    model.fit_features(x.split(16), torch.zeros(N, dtype=torch.int64))
    train, test = pyriemanns(x.numpy()), pyriemanns(other.numpy())
    vectors = []
    for band in range(3):
        space = TangentSpace(metric="riemann").fit(train[:, band])
        root = model.whiten_NCC[band].numpy()
        close(np.linalg.inv(root @ root), space.reference_, 1e-9)
        vectors.append(space.transform(test[:, band]))
    close(model.features(other), np.hstack(vectors), 1e-8)
    # In float32, as batches come.
    close(model.features(other.float()), np.hstack(vectors), 1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_those_of_scikit_learn(n_classes: int) -> None:
    random = np.random.default_rng(3)
    x, other = random.normal(size=(90, 12)), random.normal(size=(20, 12))
    y = np.arange(90) % (n_classes + 1) % n_classes  # classes of unequal size
    x[:, 0] += y
    recipe = ClosedFormRecipe(solver="logistic", standardise=False, penalties=(0.01,))
    val = (x[:10], y[:10])
    recipe = recipe.model_copy(update={"select": "balanced_accuracy"})
    head = solve_head((x, y), val, n_classes=n_classes, recipe=recipe)
    found = softmax(other @ head.weight_KD.T + head.bias_K)
    # scikit-learn's C stands before a sum over windows, balanced to sum up to N.
    theirs = LogisticRegression(
        C=100 / len(y), class_weight="balanced", tol=1e-9, max_iter=5000
    ).fit(x, y)
    np.testing.assert_allclose(found, theirs.predict_proba(other), atol=1e-5)


def test_the_whole_pipeline_is_that_of_both() -> None:
    x, other = eeg(6, 400, n=40), eeg(6, 400, n=12, seed=1)
    y = np.arange(40) % 2
    model = ours(6, 400)
    model.fit_features(x.split(16), torch.from_numpy(y))
    recipe = family.RECIPE.model_copy(update={"penalties": (0.01,)})
    features = model.features(x).numpy()
    head = solve_head((features, y), (features, y), n_classes=2, recipe=recipe)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(head.weight_KD))
        model.head.bias.copy_(torch.from_numpy(head.bias_K))
        found = model.double()(other).softmax(-1)[:, 1]

    train, test = pyriemanns(x.numpy()), pyriemanns(other.numpy())
    spaces = [TangentSpace().fit(train[:, band]) for band in range(3)]
    vectors = [
        np.hstack([space.transform(part[:, i]) for i, space in enumerate(spaces)])
        for part in (train, test)
    ]
    theirs = LogisticRegression(C=100 / 40, tol=1e-9, max_iter=5000).fit(vectors[0], y)
    expected = theirs.predict_proba(vectors[1])[:, 1]
    # The head is float32 and scikit-learn stops at a tolerance.
    np.testing.assert_allclose(found, expected, atol=1e-4)
