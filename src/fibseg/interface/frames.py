"""Finished runs as data frames, for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibseg.errors import FibsegError
from fibseg.runs.components import components_of
from fibseg.runs.results import SCORED_SPLITS

if TYPE_CHECKING:
    import pandas as pd

    from fibseg.comparison.contrasts import Contrast
    from fibseg.comparison.dataset import Dataset
    from fibseg.comparison.text import Table


class Comparison:
    """Finished runs of one data set, as data frames.

    Attributes:
        dataset: the runs, and what was read beside them.
    """

    def __init__(self, dataset: Dataset):
        """Keep the data set; nothing is computed before it is asked for."""
        self.dataset = dataset

    def runs(self) -> pd.DataFrame:
        """A row for each run: its configuration, seed, and F1 by split and class."""
        rows = []
        for configuration_name, runs in self.dataset.configurations.items():
            for run in runs:
                f1 = {
                    f"{split} {name}": value
                    for split in SCORED_SPLITS
                    for name, value in run.f1(split).items()
                }
                rows.append({"configuration": configuration_name, "seed": run.seed, **f1})
        return pandas_or_error().DataFrame(rows)

    def learning_curves(self) -> pd.DataFrame:
        """A row for each run and epoch, from metrics.csv; runs without one are left out."""
        rows = []
        for configuration_name, runs in self.dataset.configurations.items():
            for run in runs:
                name = {"configuration": configuration_name, "seed": run.seed}
                rows += [name | row for row in run.metrics]
        return pandas_or_error().DataFrame(rows)

    def components(self, split: str = "test") -> pd.DataFrame:
        """A row for each component of truth and prediction of a split, with the share in common."""
        frames = []
        for configuration_name, runs in self.dataset.configurations.items():
            for run in runs:
                for name in run.class_names[1:]:
                    components = components_of(run.path, split, name)
                    columns = {
                        "configuration": configuration_name,
                        "seed": run.seed,
                        "class": name,
                        "of_truth": components.of_truth,
                        "area": components.area,
                        "share": components.share,
                    }
                    frames.append(pandas_or_error().DataFrame(columns))
        return pandas_or_error().concat(frames, ignore_index=True)

    def table_1(self, paper_style: bool = False) -> pd.DataFrame:
        """Table 1 of the paper: test F1 of each configuration, as `fibseg compare` prints it."""
        # When it is called: `import fibseg` needs no table.
        from fibseg.comparison.score_tables import table_1

        return _frame(table_1(self.dataset, paper_style))

    def table_2(self) -> pd.DataFrame:
        """Table 2 of the paper: components of the test slices."""
        from fibseg.comparison.detection_tables import table_2

        return _frame(table_2(self.dataset))

    def contrasts(self) -> pd.DataFrame:
        """Differences between configurations, with intervals over seeds: a row for each class."""
        contrasts = self.dataset.contrasts
        return pandas_or_error().DataFrame([_contrast_row(contrast) for contrast in contrasts])


def _contrast_row(contrast: Contrast) -> dict[str, Any]:
    return {
        "question": contrast.question,
        "contrast": contrast.name,
        "class": contrast.class_name,
        "difference": contrast.interval.mean,
        "low": contrast.interval.low,
        "high": contrast.interval.high,
        "p": contrast.p,
        "joint_low": contrast.joint_interval.low,
        "joint_high": contrast.joint_interval.high,
        "joint_p": contrast.joint_p,
        "p_equivalent": contrast.equivalence_p,
        "effect_size": contrast.effect_size,
        "seeds": min(contrast.runs),
        "paired": contrast.paired,
    }


def _frame(table: Table) -> pd.DataFrame:
    """A table as a data frame; its cells stay text."""
    return pandas_or_error().DataFrame(table.rows, columns=table.columns)


def pandas_or_error() -> Any:
    """The module pandas, which is an extra.

    Raises:
        FibsegError: it is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise FibsegError("data frames need pandas; pip install 'fibseg[notebook]'.") from error
    return pandas
