"""Run directories: their names, files, scores and components, and collections of finished runs.

Here: everything that is read or written in `runs/<name>/<run>/` without torch.
Not here: training (`fibseg.training`), statistics over runs (`fibseg.comparison`).
"""

from fibseg.runs.collection import (
    Collection,
    LeftOut,
    best_runs,
    collect,
    configurations,
    find_runs,
    median_run,
)
from fibseg.runs.components import (
    COMPONENT_COLUMNS,
    Components,
    components_of,
    write_components,
)
from fibseg.runs.directory import RunDirectory, find_checkpoint, is_run
from fibseg.runs.finished import FinishedRun, read_run
from fibseg.runs.identity import (
    check_same,
    config_hash,
    read_config,
    run_name,
    scientific,
    write_config,
)
from fibseg.runs.results import (
    SCORED_SPLITS,
    RunScores,
    mean_validation_f1,
    read_metrics,
    read_scores,
    write_scores,
)

__all__ = [
    "COMPONENT_COLUMNS",
    "SCORED_SPLITS",
    "Collection",
    "Components",
    "FinishedRun",
    "LeftOut",
    "RunDirectory",
    "RunScores",
    "best_runs",
    "check_same",
    "collect",
    "components_of",
    "config_hash",
    "configurations",
    "find_checkpoint",
    "find_runs",
    "is_run",
    "mean_validation_f1",
    "median_run",
    "read_config",
    "read_metrics",
    "read_run",
    "read_scores",
    "run_name",
    "scientific",
    "write_components",
    "write_config",
    "write_scores",
]
