"""Batches become scores: the one classifier, its metrics, and the spine ``fit``.

From: ``models`` and ``batches``. To: ``runs``.
"""
