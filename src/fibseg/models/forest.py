"""A random forest on features of pixels in the place of a network: arrays, and nothing that runs.

Breiman, Machine Learning 45, 2001, doi:10.1023/A:1010933404324.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fibseg.arrays import Floats, Ints
from fibseg.errors import FibsegError
from fibseg.models.features import FEATURES_PER_CHANNEL, REACH, SCALES, pixel_features

# numba is slow to import, and is needed when pixels are classified alone.
if TYPE_CHECKING:
    from fibseg.models.forest_walk import Trees

_PIXELS_AT_ONCE = 2**15
"""Pixels that are classified together: few enough for a cache to hold their features."""

_TREES_AT_ONCE = 10
"""Trees that are walked before it is looked which pixels are decided."""

_NODES_PER_PIXEL = 0.25
"""Nodes of a tree per pixel that it learns from, as measured on real stacks; trees grow fully."""

_NODE_BYTES = 60
"""Bytes of a node while the trees are made ready to walk."""

_MOST_NODES = 2**32 - 1
"""Nodes of a forest that 32 bits can number."""

DEEPEST = 2000
"""Levels of a tree; trees of real stacks have 20 to 60, and every level costs a pixel a step."""

_SMALLEST_SHARE = 1e-9
"""Stands for a share of 0, whose logarithm would be infinite."""


# A module of torch, so that predictions, checkpoints and ensembles treat it as they treat a
# network.
class ForestNetwork(nn.Module):
    """Trees as arrays, and a compiled walk down them.

    Maps images (N, C, H, W) in [0, 1] to the logarithms of the mean shares of the classes
    (N, K, H, W), whose softmax gives the shares. It computes on the CPU with torch's number of
    threads, whatever the device. `stride` and `halo` are explained in `fibseg.models.kinds`.

    Attributes:
        arguments: of its constructor.
        classes: number of classes.
        starts: (T + 1,) first node of each tree, and the number of nodes.
        left: (M,) left child of a node, counted from the tree's first node; -1 for a leaf.
        right: (M,) right child, likewise.
        feature: (M,) which feature a node compares.
        threshold: (M,) largest value of the feature that leads to the left child.
        row: (M,) row of `shares`, for a leaf.
        shares: (R, K) shares of the classes among a leaf's training pixels.
        importances: (F,) mean decrease of impurity by each feature; their sum is 1.
    """

    # Nothing is pooled: the features of a pixel are the same wherever a tile starts.
    stride = 1
    halo = REACH
    starts: Tensor
    left: Tensor
    right: Tensor
    feature: Tensor
    threshold: Tensor
    row: Tensor
    shares: Tensor
    importances: Tensor

    def __init__(self, channels: int, classes: int, trees: int, nodes: int, rows: int):
        """Make empty arrays of these sizes, for `load_state_dict`.

        Args:
            channels: number of input channels.
            classes: number of classes, background included.
            trees: number of trees.
            nodes: number of nodes of all trees together.
            rows: number of rows of `shares`.
        """
        super().__init__()
        self.arguments = {
            "channels": channels,
            "classes": classes,
            "trees": trees,
            "nodes": nodes,
            "rows": rows,
        }
        self.classes = classes
        features = channels * FEATURES_PER_CHANNEL
        for name in ("left", "right", "feature", "row"):
            self.register_buffer(name, torch.zeros(nodes, dtype=torch.int32))
        self.register_buffer("starts", torch.zeros(trees + 1, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(nodes, dtype=torch.float32))
        self.register_buffer("shares", torch.zeros((rows, classes), dtype=torch.float64))
        self.register_buffer("importances", torch.zeros(features, dtype=torch.float64))
        # Made at the first use, from whatever arrays are loaded by then.
        self._trees: Trees | None = None
        self.register_load_state_dict_post_hook(_forget_trees)  # type: ignore[no-untyped-call]

    @staticmethod
    def expected_size(trees: int, pixels: int) -> int:
        """Estimate how many numbers a forest of so many trees from so many pixels holds."""
        # Five arrays have an entry for each node; the others are small.
        return int(5 * _NODES_PER_PIXEL * trees * pixels)

    @staticmethod
    def sizes(arrays: dict[str, Tensor]) -> dict[str, int]:
        """Give the arguments of the constructor that fit arrays.

        Raises:
            KeyError: an array is missing.
            ValueError: `shares` is no table.
        """
        rows, classes = arrays["shares"].shape
        return {
            "channels": arrays["importances"].numel() // FEATURES_PER_CHANNEL,
            "classes": classes,
            "trees": arrays["starts"].numel() - 1,
            "nodes": arrays["left"].numel(),
            "rows": rows,
        }

    def bytes_for(self, pixels: int) -> int:
        """Estimate the bytes that it takes to classify so many pixels: features, filters, trees."""
        # Each thread has up to 24 float32 images of its scale at work.
        at_work = 24 * min(torch.get_num_threads(), 1 + len(SCALES))
        return 4 * pixels * (len(self.importances) + at_work) + _NODE_BYTES * len(self.left)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logarithms of the shares (N, K, H, W), float32."""
        shares = self._sums_of_images(images, decide=False) / (len(self.starts) - 1)
        return shares.clamp_(min=_SMALLEST_SHARE).log_().float()

    def votes(self, images: Tensor) -> Tensor:
        """Compute scores (N, K, H, W), float64, whose largest class is that of `forward`.

        They are faster to have: a pixel whose class is decided walks down no further tree.
        """
        return self._sums_of_images(images, decide=True)

    def _sums_of_images(self, images: Tensor, decide: bool) -> Tensor:
        """Sum up shares (N, K, H, W); with `decide`, decided pixels lack the last trees."""
        # Back to the 8 bits that the features are computed from: exact, since images are these bits
        # / 255.
        pixels = (images.detach().cpu().float() * 255).round().to(torch.uint8).numpy()
        threads = torch.get_num_threads()
        sums = [self._sums(pixel_features(channels, threads), decide) for channels in pixels]
        return torch.from_numpy(np.stack(sums)).to(images.device)

    def _sums(self, features: Floats, decide: bool) -> NDArray[np.float64]:
        """Sum up the shares (K, H, W) for features (F, H, W)."""
        from fibseg.models.forest_walk import walkable_trees

        # Compiled code would read beyond the features.
        if len(features) != len(self.importances):
            raise ValueError(
                f"{len(features)} features of a pixel, but the forest asks for "
                f"{len(self.importances)}"
            )
        if self._trees is None:
            self.check()
            arrays = {name: value.cpu().numpy() for name, value in self.named_buffers()}
            self._trees = walkable_trees(arrays)
        flat = features.reshape(len(features), -1)

        def sums_from(start: int) -> NDArray[np.float64]:
            # (P, F): the features of a pixel lie side by side, where a walk reads them.
            rows = np.ascontiguousarray(flat[:, start : start + _PIXELS_AT_ONCE].T)
            return self._walk(rows, decide)

        # Threads are enough: the compiled walk releases Python's interpreter lock.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            sums = list(pool.map(sums_from, range(0, flat.shape[1], _PIXELS_AT_ONCE)))
        return np.ascontiguousarray(np.concatenate(sums).T).reshape(-1, *features.shape[1:])

    def _walk(self, rows: Floats, decide: bool) -> NDArray[np.float64]:
        """Sum up the shares (N, K) for features (N, F)."""
        from fibseg.models.forest_walk import add_shares

        assert self._trees is not None
        count = len(self._trees.starts)
        sums = np.zeros((len(rows), self.classes))
        undecided = np.arange(len(rows))
        for first in range(0, count, _TREES_AT_ONCE):
            # Trees that are still to walk down.
            left = max(0, count - first - _TREES_AT_ONCE)
            add_shares(
                trees=self._trees,
                first=first,
                end=count - left,
                rows=rows,
                pixels=undecided,
                sums=sums,
            )
            if decide and left and self.classes > 1:
                # A tree adds 1 to a class at most, so that a larger lead cannot be made up. The
                # margin is for the rounding of the sums.
                best = np.partition(sums[undecided], -2, axis=1)[:, -2:]
                undecided = undecided[best[:, 1] - best[:, 0] <= left + 1e-9]
        return sums

    def check(self) -> None:
        """Check every index, because compiled code follows them without looking.

        Raises:
            FibsegError: an index leads out of its array, or a value is none that training gives.
        """
        nodes = len(self.left)
        if nodes > _MOST_NODES:
            raise FibsegError(f"more than {_MOST_NODES} nodes")
        starts = self.starts.cpu().numpy()
        _check_starts(starts, nodes)
        left = self.left.cpu().numpy()
        right = self.right.cpu().numpy()
        inner = left >= 0
        counts = np.diff(starts)
        tree_nodes = np.repeat(counts, counts)
        position = np.arange(nodes) - np.repeat(starts[:-1], counts)
        for children in (left, right):
            # Children come after their parent, so that a walk cannot turn in a circle.
            wrong = (children >= tree_nodes) | (inner & (children <= position))
            if (wrong | (~inner & (children != -1))).any():
                raise FibsegError("a node leads out of its tree")
        first_nodes = np.repeat(starts[:-1], counts)[inner]
        sides = [children[inner] + first_nodes for children in (left, right)]
        _check_depth(starts[:-1], np.flatnonzero(inner), np.stack(sides), nodes)
        self._check_values(inner)

    def _check_values(self, inner: NDArray[np.bool_]) -> None:
        """Check what nodes compare and what leaves hold; `inner` (M,) says which have children."""
        feature = self.feature.cpu().numpy()[inner]
        if (feature < 0).any() or (feature >= len(self.importances)).any():
            raise FibsegError("a node asks for a feature that does not exist")
        if (self.row < 0).any() or (self.row >= len(self.shares)).any():
            raise FibsegError("a leaf has no shares")
        if not (self.threshold.isfinite().all() and self.shares.isfinite().all()):
            raise FibsegError("a threshold or share is no number")
        # `votes` counts on it.
        if (self.shares < 0).any() or (self.shares.sum(dim=1) > 1 + 1e-6).any():
            raise FibsegError("shares of a leaf are more than a whole")


def _check_starts(starts: NDArray[Any], nodes: int) -> None:
    """Check that `starts` (T + 1,) cuts the nodes into trees."""
    # Values are compared before differences are taken of them, which could overflow.
    fits = len(starts) >= 2 and bool(((starts >= 0) & (starts <= nodes)).all())
    fits = fits and starts[0] == 0 and starts[-1] == nodes
    if not fits or (starts[1:] <= starts[:-1]).any():
        raise FibsegError("trees do not fit their nodes")


def _check_depth(roots: Ints, inner: Ints, children: Ints, nodes: int) -> None:
    """Check that every node has one parent, and that no way down is too long to be walked.

    Args:
        roots: (T,) first node of each tree.
        inner: (I,) nodes that have children, in their order.
        children: (2, I) left and right child of each of them.
        nodes: number of nodes.
    """
    parents = np.bincount(children.ravel(), minlength=nodes)
    parents[roots] += 1
    if (parents != 1).any():
        raise FibsegError("a node has no parent, or several")
    position = np.full(nodes, -1)
    position[inner] = np.arange(len(inner))
    level = roots
    for _ in range(DEEPEST + 1):
        # Leaves have no place among the inner nodes.
        inside = position[level]
        level = children[:, inside[inside >= 0]].ravel()
        if not len(level):
            return
    raise FibsegError(f"a tree of more than {DEEPEST} levels")


def _forget_trees(network: ForestNetwork, _: object) -> None:
    """Make the trees anew at the next use: other arrays were loaded."""
    network._trees = None
