"""A folder of static pages that says all there is to say of a store of runs.

From: a ResultStore, and nothing else. To: HTML without a script or an outside address.
"""
