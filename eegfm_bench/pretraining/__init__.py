"""Pre-training: windows without their labels become weights.

From: corpora, and the training parts of labelled sets. To: a folder of weights.
"""
