"""Records become tables, and tables are held against references.

From: ``runs`` and ``results/published``. To: a person, a paper, or the gate.
Nothing here needs torch or lightning.
"""
