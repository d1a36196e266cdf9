"""Annotated slices: what a data description says, and what becomes of it on the way to a batch.

Here: descriptions, slices with their labels, grey values, patches, checks and imports of labels.
Not here: reading files (`fibseg.stack`), the grain filter (`fibseg.filters`), networks
(`fibseg.models`).
"""
