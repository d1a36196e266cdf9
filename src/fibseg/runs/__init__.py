"""Run directories: their names, files, scores and components, and collections of finished runs.

Here: everything that is read or written in `runs/<name>/<run>/`, without torch.
Not here: training (`fibseg.training`), statistics over runs (`fibseg.comparison`).
"""
