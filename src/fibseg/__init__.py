"""fibseg: organelle segmentation of FIB-SEM stacks from a few annotated slices."""

from fibseg.arrays import IGNORE

__version__ = "0.1.0"

__all__ = ["IGNORE", "__version__"]
