"""A file becomes a Recording: µV, Hz, named channels.

From: the user's data root. To: ``windows``.
"""
