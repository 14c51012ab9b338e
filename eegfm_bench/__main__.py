"""``python -m eegfm_bench`` is the command line."""

from eegfm_bench.cli import main

main()
