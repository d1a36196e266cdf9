"""What a person looks at: HTML pages, charts, galleries, figures for a paper.

Here: drawing of numbers and labels that other packages computed.
Not here: the numbers themselves (`fibseg.scores`, `fibseg.comparison`).
"""

from fibseg.pages.figures import class_color, overlay, save_curves, save_panels

__all__ = ["class_color", "overlay", "save_curves", "save_panels"]
