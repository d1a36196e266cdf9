"""What one side of a contrast scored: a configuration, or several of them.

Here: its runs, in the order of their seeds, and their scores. Not here: the difference of two sides
(`fibseg.comparison.contrasts`).
"""
