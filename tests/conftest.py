"""What all tests share: a closed network, a private cache, tiny recordings."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from eegfm_bench.recordings.recording import Recording

# One thread and no GPU: bitwise repeatability is promised for one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""


def real_data() -> Path | None:
    """Return the folder of real recordings beside the checkout, or None."""
    named = os.environ.get("EEGFM_TEST_DATA")
    root = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return root if (root / "eegmat").is_dir() else None


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Real recordings, or a skip that says how to have them."""
    root = real_data()
    if root is None:
        pytest.skip("no real recordings: set EEGFM_TEST_DATA to a data root")
    return root


@pytest.fixture(scope="session")
def corrupt(data_root: Path) -> Path:
    """The folder of damaged files beside the real ones."""
    folder = data_root / "corrupt"
    if not folder.is_dir():
        pytest.skip("no damaged files: they lie in <data root>/corrupt")
    return folder


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all processes of the session: twins are simulated once."""
    base = tmp_path_factory.getbasetemp()
    # The folders of xdist's processes lie side by side.
    root = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    cache = root / "shared-cache"
    cache.mkdir(exist_ok=True)
    return cache


@pytest.fixture(autouse=True)
def _private_places(
    monkeypatch: pytest.MonkeyPatch, shared_cache: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("EEGFM_CACHE", str(shared_cache))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MNE_DATA", str(tmp_path))
    monkeypatch.delenv("EEGFM_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.fixture(autouse=True)
def _closed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: tuple[str, int]) -> None:
        if address[0] not in ("127.0.0.1", "::1"):  # servers of the tests' own
            raise AssertionError(f"a test reached for the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(1)


@pytest.fixture
def tiny_recording() -> Recording:
    """Three channels, 10 s at 100 Hz, µV."""
    x = np.random.default_rng(0).normal(0, 20, (3, 1000))
    return Recording(x=x, rate_hz=100.0, channels=("C3", "Cz", "C4"), name="tiny")
