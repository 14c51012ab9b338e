"""One file, one dataset: files, channels, windows, labels, split, facts, twin.

From: ``recordings`` and ``windows``. To: ``prepare`` and ``EEGDataModule``.
"""
