"""Measures of numbered 3-D objects beyond those of every table: shape, skeleton, neighbours.

Here: objects of stacks of ids, faces, skeletons, contacts, distances, necks, the table.
Not here: connected components of classes (`fibseg.scores.objects`).
"""
