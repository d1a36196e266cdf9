"""Slices that are labelled, until the files of a prediction are made of them.

Here: where slices are kept, which process has which of them, and what differs from an output that
was begun before. Not here: how a slice is labelled (`fibseg.prediction.stack`).
"""
