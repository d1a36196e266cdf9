"""What precedes and follows the network of a package, computed by bioimageio.core.

Steps that measure do so on the whole slice, as the library does before it cuts a sample into
blocks: a window is prepared by the mean of its slice, and not by its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Pixels
from fibseg.errors import FibsegError
from fibseg.models.foreign.running import ArrayNetwork, Floats32, export_library, first_line

_STEPS = {
    "binarize",
    "clip",
    "ensure_dtype",
    "fixed_zero_mean_unit_variance",
    "scale_linear",
    "scale_range",
    "sigmoid",
    "softmax",
    "zero_mean_unit_variance",
}
"""Steps before and after a network that are computed from the slice alone, and run no code."""

Statistics = Mapping[Any, Any]
"""What the steps of a package measure of an input, as bioimageio.core keeps it."""


@dataclass(frozen=True)
class Package:
    """A description whose parts have been looked at.

    Attributes:
        path: of the zip.
        model: the description, as bioimageio.spec holds it.
        input: its only input.
        output: its only output.
    """

    path: Path
    model: Any
    input: Any
    output: Any

    def statistics(self, values: Pixels) -> Statistics:
        """Measure an input, in the axes of the description, as far as the steps ask for it.

        Raises:
            FibsegError: it cannot be measured.
        """
        core = export_library("bioimageio.core")
        calculators = export_library("bioimageio.core.stat_calculators")
        try:
            measures = core.proc_setup.get_requried_sample_measures(self.model)
            sample = self._sample(values, {})
            statistics: Statistics = calculators.compute_sample_measures(measures.pre, sample)
        except MemoryError:
            raise
        # Of any step of another library.
        except Exception as error:
            raise self._failed(error) from error
        return statistics

    def processed(
        self, values: Pixels, infer: ArrayNetwork, statistics: Statistics | None = None
    ) -> Floats32:
        """Run the network, with what precedes and follows it.

        Args:
            values: the input, in the axes of the description.
            infer: runs the network on such axes.
            statistics: of the slice that the input is a part of; None where it is the whole.

        Returns:
            The output, in the axes of the description.

        Raises:
            FibsegError: a step cannot be computed.
            MemoryError: the network lacks memory.
        """
        core = export_library("bioimageio.core")
        if statistics is None:
            statistics = self.statistics(values)
        try:
            before, after = core.proc_setup.get_pre_and_postprocessing(
                self.model, dataset_for_initial_statistics=(), fixed_dataset_stats=statistics
            )
            sample = self._sample(values, statistics)
            before(sample)
            prepared = sample.members[self.input.id].to_numpy()
            result = infer(np.ascontiguousarray(prepared, np.float32))
            dims = [axis.id for axis in self.output.axes]
            sample.members[self.output.id] = core.Tensor.from_numpy(result, dims=dims)
            after(sample)
            return np.asarray(sample.members[self.output.id].to_numpy(), np.float32)
        # A prediction then takes smaller parts of a slice.
        except (FibsegError, MemoryError):
            raise
        # Of any step of another library.
        except Exception as error:
            raise self._failed(error) from error

    def _sample(self, values: Pixels, statistics: Statistics) -> Any:
        """The input as bioimageio.core takes it."""
        core = export_library("bioimageio.core")
        tensor = core.Tensor.from_numpy(values, dims=[axis.id for axis in self.input.axes])
        members = {self.input.id: tensor}
        return core.Sample(members=members, stat=dict(statistics), id="slice")

    def _failed(self, error: Exception) -> FibsegError:
        return FibsegError(f"{self.path}: its steps cannot be computed ({first_line(error)}).")


def check_steps(package: Package) -> None:
    """Refuse steps that fibseg does not compute, or not from a slice alone.

    Raises:
        FibsegError: there is one.
    """
    path = package.path
    before = package.input.preprocessing
    after = package.output.postprocessing
    unknown = sorted({str(step.id) for step in (*before, *after)} - _STEPS)
    if unknown:
        raise FibsegError(
            f"{path}: needs {unknown[0]}, which fibseg does not run; expected "
            f"{', '.join(sorted(_STEPS))}."
        )
    core = export_library("bioimageio.core")
    of_model = core.proc_setup.get_requried_measures(package.model)
    measures = {*of_model.pre, *of_model.post}
    names = ", ".join(sorted({str(step.id) for step in (*before, *after) if _may_measure(step)}))
    # They would be those of the slices so far, and change from slice to slice.
    if any(measure.scope == "dataset" for measure in measures):
        raise FibsegError(
            f"{path}: needs statistics of a whole data set ({names}); fibseg measures single "
            "slices, by steps of the axes y and x."
        )
    if any(measure.member_id != package.input.id for measure in measures):
        raise FibsegError(
            f"{path}: needs statistics of its output ({names}), which is computed in windows."
        )


def _may_measure(step: Any) -> bool:
    return str(step.id) in ("clip", "scale_range", "zero_mean_unit_variance")
