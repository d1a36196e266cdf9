"""fibseg: organelle segmentation of FIB-SEM stacks from a few annotated slices."""

__version__ = "0.1.0"

IGNORE = 255
"""Class index of a pixel that nobody annotated: no loss, no score. Classes are 0 (background) to 254."""
