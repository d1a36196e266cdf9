"""Networks and forests, what they have in common, and the files they are kept in.

Here: the table of kinds, one module per network, features of pixels, trained models, starting weights.
Not here: training them (`fibseg.training`), using them on slices (`fibseg.prediction`).
"""
