"""Beyond seeds and slices: what test volumes and folds say of the same configurations.

Not here: the statistics themselves (`fibseg.comparison.inference`).
"""
