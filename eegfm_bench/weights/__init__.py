"""Weights that others trained: read, matched name by name, and proven to be there.

From: files and folders in any public layout. To: ``training``, a model whose encoder
holds them, and a report for the record. Nothing loads without saying what did.
"""
