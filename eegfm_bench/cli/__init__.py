"""The command line: one command per verb, nothing heavy imported before it runs.

From: a person or a script. To: ``sweep``, ``report`` and ``datasets``.
"""

from eegfm_bench.cli.app import main

__all__ = ["main"]
