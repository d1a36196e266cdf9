"""The loop of painting and training: a project of one image, its labels, and what comes next.

Here: the project's folder, its labels and their history, splits, rounds of training, suggestions of
what to paint. Not here: windows and buttons (`fibseg.viewer`), training itself
(`fibseg.training`).
"""

from fibseg.annotation.opening import create_project, opened_project
from fibseg.annotation.project import AnnotationProject
from fibseg.annotation.state import ProjectState

__all__ = ["AnnotationProject", "ProjectState", "create_project", "opened_project"]
