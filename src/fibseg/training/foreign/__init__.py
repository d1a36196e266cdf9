"""Results of other programs as runs, beside which our own are compared.

Here: stacks of labels that are adopted. Not here: Ilastik, which a run starts itself
(`fibseg.training.ilastik`).
"""
