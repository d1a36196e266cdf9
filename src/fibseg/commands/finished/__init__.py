"""Commands on runs: tables, figures and a live page of several, what is measured on one again.

Here: `compare`, `watch`, `figure`, `calibrate`, `exactness`, `export`, `adopt`.
Not here: commands on stacks and descriptions.
"""
