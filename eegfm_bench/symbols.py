"""Axis letters, units and words, agreed once.

From: nowhere. To: names and docstrings everywhere; two constants are code.

Axes    B windows in a batch · N windows in a store · C channels · T time points
        P patches per channel · L time points per patch · S tokens · D width
        H heads · E experts · F frequency bins or filters · K classes
Units   signals in µV, rates in Hz, times in seconds; the unit rides in the name
        (``rate_hz``, ``window_s``, ``onset_s``) wherever it is not plain.
Words   recording (one continuous file) · window (what a model sees) · part (one
        of train, val, test) · run (one spec, executed) · cell (a spec without
        its seed) · suite (a named list of cells)
"""

from __future__ import annotations

UV_PER_V = 1e6
PARTS = ("train", "val", "test")
