"""Intervals, tests, verdicts, ranks and calibration: plain numbers in, numbers out.

From: arrays of scores, subjects and seeds. To: ``report``. Knows no record, no
model and no torch. What each number covers, and how often it is wrong, is measured
by ``benchmarks/statistics/coverage.py`` and shown in ``docs/statistics.md``.
"""
