"""A random forest (Breiman, 2001) on features of pixels, in the place of a network: arrays, and nothing that runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fibseg.errors import FibsegError
from fibseg.models.features import FEATURES, REACH, SCALES, pixel_features

if TYPE_CHECKING:
    from fibseg.models.forest_walk import Trees


Floats = NDArray[np.float32]

CHUNK = 2**15
"""Pixels that are classified together: their features stay in a cache while tree after tree looks at them."""

BLOCK = 10
"""Trees between two looks at which pixels are decided."""

NODES_PER_PIXEL = 0.25
"""Nodes of a tree for each pixel that it learns from; measured on real stacks, where trees grow to the end."""

NODE = 60
"""Bytes of a node while the trees are made ready to walk."""

LARGEST = 2**32 - 1
"""Nodes of a forest."""

SMALLEST = 1e-9
"""Share of a class that no tree gave, so that its logarithm is finite."""


class ForestNetwork(nn.Module):
    """Trees as arrays, and a compiled walk down them.

    (N, C, H, W) in [0, 1] -> logarithms of the mean shares of the classes (N, K, H, W), so that a softmax gives the
    shares. It computes on the CPU with torch's number of threads, whatever the device.

    Attributes:
        arguments: of its constructor.
        starts: (T + 1,) first node of each tree.
        left, right: (M,) children, counted from the tree's first node; -1 for a leaf.
        feature: (M,) which feature a node asks for.
        threshold: (M,) up to which, that included, the left child is taken.
        row: (M,) of `shares`, for a leaf.
        shares: (R, K) of the classes among a leaf's training pixels.
        importances: (F,) of each feature: mean decrease of impurity, sum 1.
        stride: tiles may start anywhere.
        halo: how far a pixel's features look.
    """

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
        """Empty arrays of these sizes, for `load_state_dict`."""
        super().__init__()
        self.arguments = {
            "channels": channels,
            "classes": classes,
            "trees": trees,
            "nodes": nodes,
            "rows": rows,
        }
        self.classes = classes
        for name in ("left", "right", "feature", "row"):
            self.register_buffer(name, torch.zeros(nodes, dtype=torch.int32))
        self.register_buffer("starts", torch.zeros(trees + 1, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(nodes, dtype=torch.float32))
        self.register_buffer("shares", torch.zeros((rows, classes), dtype=torch.float64))
        self.register_buffer("importances", torch.zeros(channels * FEATURES, dtype=torch.float64))
        self._trees: Trees | None = None
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @staticmethod
    def expected_size(trees: int, pixels: int) -> int:
        """About how many numbers a forest of so many trees from so many pixels holds."""
        # Five arrays over the nodes.
        return int(5 * NODES_PER_PIXEL * trees * pixels)

    @staticmethod
    def sizes(arrays: dict[str, Tensor]) -> dict[str, int]:
        """Arguments of the constructor that fit arrays; KeyError or IndexError where some are missing."""
        rows, classes = arrays["shares"].shape
        trees, nodes = arrays["starts"].numel() - 1, arrays["left"].numel()
        channels = arrays["importances"].numel() // FEATURES
        return {
            "channels": channels,
            "classes": classes,
            "trees": trees,
            "nodes": nodes,
            "rows": rows,
        }

    def bytes_for(self, pixels: int) -> int:
        """About so many at one time to classify so many pixels: features, filters at work in each thread, trees."""
        at_work = 24 * min(torch.get_num_threads(), 1 + len(SCALES))
        return 4 * pixels * (len(self.importances) + at_work) + NODE * len(self.left)

    def forward(self, images: Tensor) -> Tensor:
        """Logarithms of the shares, float32."""
        shares = self._each(images, decide=False) / (len(self.starts) - 1)
        return shares.clamp_(min=SMALLEST).log_().float()

    def votes(self, images: Tensor) -> Tensor:
        """(N, K, H, W) float64 whose largest class is that of `forward`, sooner: decided pixels are left alone."""
        return self._each(images, decide=True)

    def _each(self, images: Tensor, decide: bool) -> Tensor:
        """Sums of shares; decided pixels miss those of the last trees."""
        pixels = (images.detach().cpu().float() * 255).round().to(torch.uint8).numpy()
        found = [self._sums(pixel_features(one, torch.get_num_threads()), decide) for one in pixels]
        return torch.from_numpy(np.stack(found)).to(images.device)

    def _sums(self, features: Floats, decide: bool) -> NDArray[np.float64]:
        """(F, H, W) -> (K, H, W)."""
        from fibseg.models.forest_walk import trees_of

        if len(features) != len(self.importances):  # compiled code would read beyond them
            raise ValueError(
                f"{len(features)} features of a pixel, but the forest asks for {len(self.importances)}"
            )
        if self._trees is None:
            self.check()
            self._trees = trees_of(
                {name: value.cpu().numpy() for name, value in self.named_buffers()}
            )
        flat = features.reshape(len(features), -1)

        def chunk(start: int) -> NDArray[np.float64]:
            return self._walk(np.ascontiguousarray(flat[:, start : start + CHUNK].T), decide)

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            found = list(pool.map(chunk, range(0, flat.shape[1], CHUNK)))
        return np.ascontiguousarray(np.concatenate(found).T).reshape(-1, *features.shape[1:])

    def _walk(self, rows: Floats, decide: bool) -> NDArray[np.float64]:
        """(N, F) -> (N, K); a pixel is decided once the trees that are left cannot change its first class."""
        from fibseg.models.forest_walk import add_shares

        assert self._trees is not None
        count, sums, undecided = (
            len(self._trees.starts),
            np.zeros((len(rows), self.classes)),
            np.arange(len(rows)),
        )
        for first in range(0, count, BLOCK):
            left = max(0, count - first - BLOCK)
            add_shares(self._trees, first, count - left, rows, undecided, sums)
            if decide and left and self.classes > 1:
                best = np.partition(sums[undecided], -2, axis=1)[:, -2:]
                undecided = undecided[best[:, 1] - best[:, 0] <= left + 1e-9]
        return sums

    def check(self) -> None:
        """FibsegError where an index leads elsewhere: compiled code follows them without looking."""
        starts, left, right, feature, row = (
            getattr(self, name).cpu().numpy()
            for name in ("starts", "left", "right", "feature", "row")
        )
        nodes = len(left)
        outside = (starts < 0).any() or (
            starts > nodes
        ).any()  # before differences, which could overflow
        if (
            len(starts) < 2
            or outside
            or (starts[1:] <= starts[:-1]).any()
            or starts[0] != 0
            or starts[-1] != nodes
        ):
            raise FibsegError("trees do not fit their nodes")
        counts = np.diff(starts)
        own, position = np.repeat(counts, counts), np.arange(nodes) - np.repeat(starts[:-1], counts)
        inner = left >= 0
        for children in (left, right):
            if (
                (children >= own) | (inner & (children <= position)) | (~inner & (children != -1))
            ).any():
                raise FibsegError("a node leads out of its tree")
        if (feature[inner] < 0).any() or (feature[inner] >= len(self.importances)).any():
            raise FibsegError("a node asks for a feature that there is not")
        if (row < 0).any() or (row >= len(self.shares)).any():
            raise FibsegError("a leaf has no shares")
        if nodes > LARGEST:
            raise FibsegError(f"more than {LARGEST} nodes")
        if not (self.threshold.isfinite().all() and self.shares.isfinite().all()):
            raise FibsegError("a threshold or share is no number")
        if (self.shares < 0).any() or (
            self.shares.sum(dim=1) > 1 + 1e-6
        ).any():  # `votes` counts on it
            raise FibsegError("shares of a leaf are more than a whole")


def _forget(network: ForestNetwork, _: object) -> None:
    """Other arrays were loaded."""
    network._trees = None
