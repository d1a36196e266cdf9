"""Stacks and pages that are written: TIFF, OME-Zarr, one module for each.

Here: the writer, the check of a name before the work, the notes in a written file. Not here: what
is read (`fibseg.stack`). A new format to write is one more module and a line in `writing`.
"""
