"""Label a stack slice by slice: reading, filtering and the network overlap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from fibseg.arrays import UInt8
from fibseg.errors import FibsegError
from fibseg.filters import PatchFilter, grain_filter
from fibseg.filters.patches import prefetched
from fibseg.prediction.ensemble import Source, sources_of
from fibseg.prediction.intensity import in_8bit, tissue_outside
from fibseg.prediction.labeller import Decided, Labeller, decide_slice, network_of, objects_of
from fibseg.prediction.memory import Load, fitting, has_exact_tiles, lighter_loads
from fibseg.prediction.output.changes import READER_THREADS, slice_digest
from fibseg.prediction.slices import WindowedNetwork, autocast, smallest_of
from fibseg.prediction.voxels import nearest
from fibseg.scores.slabs import Numbers
from fibseg.scores.smallest import without_small
from fibseg.stack import Stack, read_finite, read_neighbours


@dataclass(frozen=True)
class LabelledSlice:
    """One slice with its labels.

    Attributes:
        z: its position in the stack.
        labels: class indices (H, W); None where the slice cannot be read.
        outside: share of its pixels outside the grey range of the training.
        digest: of the pixels of the image.
        layers: (H, W) uint8, probabilities or shares times 255.
        confidence: mean over the pixels of the largest probability; None where it was not measured.
        objects: (H, W) numbers of its objects from 1; None where they are not wanted.
        error: why it cannot be read; then nothing else is set.
    """

    z: int
    labels: UInt8 | None = None
    outside: float = 0.0
    digest: str = ""
    layers: list[UInt8] = field(default_factory=list)
    confidence: float | None = None
    objects: Numbers | None = None
    error: FibsegError | None = None


@dataclass(frozen=True)
class _PreparedSlice:
    """A slice for the network: the channels (C, H, W) of all sources."""

    outside: float
    digest: str
    lacks_neighbour: bool
    channels: UInt8


def label_stack(
    labeller: Labeller,
    stack: Stack,
    positions: Iterable[int],
    watched: Collection[int] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[LabelledSlice]:
    """Label slices of a stack, in order; a few are read and filtered while the network works.

    Args:
        labeller: what labels a slice.
        stack: the image.
        positions: of the slices, asked for a few ahead.
        watched: positions of slices whose confidence is measured.
        say: takes a line where memory is short.

    Raises:
        torch.OutOfMemoryError: not even the smallest windows fit into the memory.
    """
    network, _ = network_of(labeller)
    model = labeller.models[0]
    sources = list(sources_of(labeller.models))
    load = labeller.first_load
    device = labeller.compute.device
    exact_tiles = has_exact_tiles(labeller.models)
    with ExitStack() as resources:
        patch_filter = None
        if model.channels.by_patch:
            patch_filter = PatchFilter(model.channels.areas, labeller.compute.filter_threads)
            resources.enter_context(patch_filter)
        for z, prepared in _prepared(labeller, stack, positions, sources):
            if isinstance(prepared, FibsegError):
                yield LabelledSlice(z, error=prepared)
                continue
            if prepared.lacks_neighbour:
                say(f"slice {z}: a neighbour cannot be read; the slice itself stands in for it")

            # Default values, since a closure would see the slice that comes last.
            def label(
                load: Load, channels: UInt8 = prepared.channels, measured: bool = z in watched
            ) -> Decided:
                compute = replace(labeller.compute, batch_size=load.batch_size)
                windowed = WindowedNetwork(network, load.windows, compute, patch_filter)
                with autocast(compute):
                    return decide_slice(labeller, windowed, channels, measured)

            # What fitted is kept, so that not every slice runs out of memory first.
            decision, load = fitting(
                label, load, lighter_loads(device, exact_tiles, prepared.channels.shape, say)
            )
            yield _labelled(
                z=z, prepared=prepared, decision=decision, labeller=labeller, shape=stack.shape
            )


def _labelled(
    z: int,
    prepared: _PreparedSlice,
    decision: Decided,
    labeller: Labeller,
    shape: tuple[int, int, int],
) -> LabelledSlice:
    """Leave out small objects, number the others, and bring all to the size of the stack."""
    height, width = shape[1:]
    layers = decision.layers
    labels = without_small(decision.labels, smallest_of(labeller.models))
    objects = objects_of(labeller, labels, decision.maps)
    if labels.shape != (height, width):
        labels = nearest(labels, height, width)
        layers = [nearest(layer, height, width) for layer in layers]
        objects = None if objects is None else nearest(objects, height, width)
    return LabelledSlice(
        z=z,
        labels=labels,
        outside=prepared.outside,
        digest=prepared.digest,
        layers=layers,
        confidence=decision.confidence,
        objects=objects,
    )


def _prepared(
    labeller: Labeller, stack: Stack, positions: Iterable[int], sources: Sequence[Source]
) -> Iterator[tuple[int, _PreparedSlice | FibsegError]]:
    """Read and filter slices ahead of the network; an error of reading takes the slice's place."""
    has_filter = any(areas for _, areas, _ in sources)
    threads = labeller.compute.filter_threads if has_filter else READER_THREADS
    # Each slice is a neighbour of others, too.
    if labeller.context:
        kept = threads + 2 * labeller.context + 1
        stack = replace(stack, read=lru_cache(kept)(stack.read))

    with ThreadPoolExecutor(threads) as pool:

        def begin(z: int) -> Callable[[], tuple[int, _PreparedSlice | FibsegError]]:
            future = pool.submit(_prepare, labeller, stack, z, sources)
            return lambda: (z, future.result())

        try:
            # A few at a time bound the memory, whatever the depth of the stack.
            yield from prefetched(positions, begin, threads + READER_THREADS)
        finally:
            # A caller that stops early asks for no other slice.
            pool.shutdown(cancel_futures=True)


def _prepare(
    labeller: Labeller, stack: Stack, z: int, sources: Sequence[Source]
) -> _PreparedSlice | FibsegError:
    """Read a slice and its neighbours, and make the channels of all sources."""
    try:
        image = read_finite(stack, z)
    except FibsegError as error:
        # Returned, not raised: slices before it are still on their way, and others may follow.
        return error
    around = read_neighbours(stack, z, labeller.context, stand_in=image)
    parts: list[UInt8] = []
    for grey_range, areas, context in sources:
        pictures = [image, *around[: 2 * context]]
        grey = in_8bit(pictures, grey_range, labeller.scale)
        parts += [grey[:1], grain_filter(grey[0], areas), grey[1:]]
    # The warning on grey values is about the first model, as its text is.
    first_range, _, _ = sources[0]
    stand_ins = sum(picture is image for picture in around)
    return _PreparedSlice(
        outside=tissue_outside(image, first_range),
        digest=slice_digest(image, around),
        lacks_neighbour=stand_ins > stack.neighbours(z, labeller.context).count(z),
        channels=np.concatenate(parts),
    )
