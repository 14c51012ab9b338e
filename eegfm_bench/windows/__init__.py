"""Recordings become windows on disk, with a manifest of what was dropped.

From: ``recordings``. To: ``datasets`` and ``batches``.
"""
