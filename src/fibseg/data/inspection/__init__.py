"""What is wrong or doubtful in annotated slices, before anything is trained on them.

Here: facts of slices, doubts about labels and grey values, objects across splits, the survey of a
whole description. Not here: pictures of what was seen (`fibseg.pages.check`).
"""

from fibseg.data.inspection.facts import Finding, SliceFacts
from fibseg.data.inspection.inspector import Inspector
from fibseg.data.inspection.survey import inspect

__all__ = ["Finding", "Inspector", "SliceFacts", "inspect"]
