"""Commands on finished runs: tables and figures of several, and what is measured on one again.

Here: `compare`, `figure`, `calibrate`, `exactness`. Not here: commands on stacks and descriptions.
"""
