"""eegfm-bench: EEG foundation models compared under one exact protocol.

The road: recordings → windows → batches → models → training → runs → report.
A file becomes a Recording in µV; a Recipe cuts it into windows; a model turns
a window into logits; a run becomes a record that carries its whole question;
records become tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["EEGDataModule", "__version__", "build", "load", "prepare", "run"]

if TYPE_CHECKING:
    from eegfm_bench.batches import EEGDataModule as EEGDataModule
    from eegfm_bench.datasets._prepare import prepare as prepare
    from eegfm_bench.models._spec import build as build
    from eegfm_bench.sweep.run import run as run
    from eegfm_bench.weights.folder import load_folder as load

_WHERE = {
    "EEGDataModule": "eegfm_bench.batches",
    "build": "eegfm_bench.models._spec",
    "load": "eegfm_bench.weights.folder:load_folder",
    "prepare": "eegfm_bench.datasets._prepare",
    "run": "eegfm_bench.sweep.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: torch is heavy."""
    if name not in _WHERE:
        raise AttributeError(f"module 'eegfm_bench' has no attribute {name!r}")
    import importlib

    module, _, inside = _WHERE[name].partition(":")
    return getattr(importlib.import_module(module), inside or name)
