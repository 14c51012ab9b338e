"""Simulated recordings, written in their publishers' formats and names.

From: names of people and a task. To: files that the genuine readers read. ``simulate``
makes EEG from a head model; the others know one set's or one format's ways.
"""
