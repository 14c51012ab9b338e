"""Let braindecode import beside a torch that was built without CUDA.

From: model files, before their first ``import braindecode``. To: nothing; the
import then works. PyPI's torchaudio for Linux is linked against CUDA, so its
extension cannot load beside a CPU-only torch, and braindecode imports it on its
way. torchaudio has pure-Python ways for all that braindecode uses, which it
takes when its private module says that there is no extension.
"""

from __future__ import annotations

import importlib
import sys
import types


def ensure_torchaudio_imports() -> None:
    """Put a stand-in for torchaudio's extension in place where it cannot load.

    Does nothing beside a CUDA build of torch, or when torchaudio works.
    """
    import torch

    if torch.version.cuda is not None or "torchaudio" in sys.modules:
        return
    try:
        importlib.import_module("torchaudio")
        return
    except ModuleNotFoundError as error:
        if error.name == "torchaudio":
            return
    except (OSError, ImportError, RuntimeError):
        pass
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]
    stand_in = types.ModuleType("torchaudio._extension")

    def fail_if_no_align(function: object) -> object:
        return function

    stand_in.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=fail_if_no_align,
    )
    sys.modules["torchaudio._extension"] = stand_in
    importlib.import_module("torchaudio")
