"""What a paper about the runs needs: tables with captions, a methods paragraph, a checklist.

Here: text about numbers that other modules computed, and about the configuration of the runs.
Not here: the tables of `fibseg compare` itself, and figures (`fibseg.pages.paper`).
"""

from fibseg.comparison.manuscript.document import manuscript, manuscript_tables

__all__ = ["manuscript", "manuscript_tables"]
