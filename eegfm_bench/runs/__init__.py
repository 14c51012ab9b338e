"""Question and answer: specs, records, predictions and the folder they fill.

From: a suite or a command line. To: tables. Pure data: no torch, no mne.
"""
