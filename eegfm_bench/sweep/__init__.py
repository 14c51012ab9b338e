"""A suite becomes many runs: specs, workers, progress, and what is missing.

From: a suite file or a command line. To: records in a ResultStore. No torch.
"""
