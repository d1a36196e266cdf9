"""A synthetic FIB-SEM cell with exact labels, for the demo and the tests; never a result.

Here: where organelles lie, how they are drawn, what the microscope adds.
Not here: anything that real data needs.
"""

from fibseg.phantom.cell import Phantom, draw_phantom, make_phantom

__all__ = ["Phantom", "draw_phantom", "make_phantom"]
