"""The grain filter, and the channels that a network sees of a slice.

Here: the filter of one slice, of many slices in processes, of single patches; which channels follow.
Not here: grey values and annotation (`fibseg.data`).
"""
