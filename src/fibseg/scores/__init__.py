"""Numbers that say how good labels are: pixels, components, boundaries, objects; NumPy and SciPy only.

Here: pure functions from label arrays to counts and scores.
Not here: files of runs (`fibseg.runs`), tables over runs (`fibseg.comparison`).
"""
