"""Bringing the open datasets below a data root, and checking what was put there.

From: what publishers have on the web. To: files below the data root, as they lay them
out. ``fetch`` runs the whole; ``sources`` knows the publishers.
"""
