"""A report on W&B about the runs of a project: model x filter x lambda, made by code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fibseg.comparison.report import Report
from fibseg.errors import FibsegError

_SWEPT = ("model.architecture", "filter.areas", "training.learning_rate")
"""Keys of the configuration on the axes of the parallel coordinates."""


def save_wandb_report(place: str, reports: Sequence[Report]) -> str:
    """Make the report in a project, for everyone who may see it.

    Args:
        place: ENTITY/PROJECT, where the runs were logged.
        reports: the comparison, whose sentences stand at the top.

    Returns:
        The address of the report.

    Raises:
        FibsegError: the package is missing, nobody is logged in, or W&B refuses.
    """
    report = wandb_report(place, reports)
    try:
        report.save()
    # The library raises bare exceptions, some of them with the answer of the server in several
    # lines.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise FibsegError(f"--wandb-report {place}: W&B did not take it ({reason}).") from error
    return str(report.url)


def wandb_report(place: str, reports: Sequence[Report]) -> Any:
    """The report as an object of W&B's library, not saved; takes what `save_wandb_report` takes.

    Raises:
        FibsegError: the package is missing, or the place is no ENTITY/PROJECT.
    """
    wr = report_library()
    entity, project = report_place(place)
    blocks: list[Any] = []
    # By the name in the runs' tags: a comparison tells folds and versions of a data set apart.
    by_tag: dict[str, list[Report]] = {}
    for report in reports:
        by_tag.setdefault(str(report.dataset.runs[0].facts["data"]), []).append(report)
    for name, of_tag in by_tag.items():
        several = len(of_tag) > 1
        sentences = [
            f"{report.dataset.name}: {sentence}" if several else sentence
            for report in of_tag
            for sentence in report.answers
        ]
        # Runs of several data sets may be in one project.
        runs = wr.Runset(
            entity=entity,
            project=project,
            name=name,
            filters=f"Tags in [{name!r}]",
            groupby=["Group"],
        )
        blocks += [
            wr.H1(name),
            wr.UnorderedList(sentences),
            wr.PanelGrid(runsets=[runs], panels=_panels(of_tag[0].dataset.foreground)),
        ]
    return wr.Report(
        entity=entity,
        project=project,
        title="Comparison of model, filter and lambda",
        description="Made by fibseg compare --wandb-report.",
        blocks=blocks,
    )


def report_place(place: str) -> tuple[str, str]:
    """Entity and project of ENTITY/PROJECT.

    Raises:
        FibsegError: it is none.
    """
    entity, slash, project = place.partition("/")
    if not (entity and slash and project) or "/" in project:
        raise FibsegError(
            f"--wandb-report {place}: expected ENTITY/PROJECT, as in lab/mitochondria."
        )
    return entity, project


def report_library() -> Any:
    """The package that makes reports.

    Raises:
        FibsegError: it is missing.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
    except ImportError as error:
        raise FibsegError(
            "--wandb-report needs a package: pip install 'fibseg[wandb-report]'."
        ) from error
    return wr


def _panels(class_names: Sequence[str]) -> list[Any]:
    """Test F1 of each class, learning curves, swept keys against F1, pictures, differing keys."""
    import wandb_workspaces.reports.v2 as wr

    bars = [
        wr.BarPlot(
            title=f"test F1, {name}",
            metrics=[wr.SummaryMetric(f"test_f1/{name}")],
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        )
        for name in class_names
    ]
    curves = [
        wr.LinePlot(
            title=title, y=[metric], groupby_aggfunc="mean", groupby_rangefunc="stddev", log_y=log
        )
        for title, metric, log in (
            ("validation F1", "val_f1", False),
            ("validation loss", "val_loss", True),
        )
    ]
    columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key)) for key in _SWEPT]
    columns += [
        wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(f"validation_f1/{name}"))
        for name in class_names
    ]
    return [
        *bars,
        *curves,
        wr.ParallelCoordinatesPlot(title="lambda and other keys", columns=columns),
        wr.MediaBrowser(title="validation slices", media_keys=["panel"]),
        wr.RunComparer(diff_only="split"),
    ]
