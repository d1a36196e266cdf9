"""`fibseg annotate` and `fibseg suggest`, which work on annotation projects.

Here: their arguments and what they print. Not here: what a project is (`fibseg.annotation`).
"""
