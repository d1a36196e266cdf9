"""Objects in slices that touch each other, and a model that gives maps of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from fibseg.models.kinds import create_model
from fibseg.models.objects import ObjectRules
from fibseg.models.trained import TrainedModel
from tests.support.models import trained

RULES = ObjectRules("contour", ["a", "b"], level=0.55, overlap=0.3)


def with_head(seed: int = 0) -> TrainedModel:
    """A UNet of width 2 with maps of two classes, at a random start."""
    plain = trained([], 1)
    torch.manual_seed(seed)
    arguments = plain.arguments | {"maps": 2}
    network = create_model("unet", **arguments).eval()
    return replace(plain, network=network, arguments=arguments, objects=RULES)


def noise(shape: tuple[int, ...], smooth: float, seed: int) -> np.ndarray:
    """Smooth numbers, about half of them above 0; they change slowly along the first axis."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return np.asarray(ndimage.gaussian_filter(values, smooth), np.float32)


def random_slices(depth: int = 6, side: int = 48, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Class indices (Z, H, W) of classes 0 to 2, and maps (Z, 2, H, W) in [0, 1]."""
    shape = (depth, side, side)
    labels = (noise(shape, 3, seed) > 0.02).astype(np.uint8)
    labels[noise(shape, 3, seed + 1) > 0.06] = 2
    maps = np.stack([noise(shape, 2, seed + 2), noise(shape, 2, seed + 3)], axis=1)
    return labels, 1 / (1 + np.exp(-maps / maps.std()))


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two stacks of numbers part voxels alike, whatever the numbers are; 0 is 0."""
    if ((first == 0) != (second == 0)).any():
        return False
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1]))


def slowly_linked(labels: np.ndarray, objects: np.ndarray, overlap: float) -> np.ndarray:
    """Every object of a slice against every one of the next, and numbers that spread over links."""
    nodes = [(z, int(n)) for z in range(len(objects)) for n in np.unique(objects[z]) if n]
    number = {node: k for k, node in enumerate(nodes, 1)}
    edges = []
    for z in range(len(objects) - 1):
        for a in np.unique(objects[z])[1:]:
            for b in np.unique(objects[z + 1])[1:]:
                upper = objects[z] == a
                lower = objects[z + 1] == b
                same = labels[z][upper][0] == labels[z + 1][lower][0]
                shared = np.count_nonzero(upper & lower)
                if same and shared and shared / np.count_nonzero(upper | lower) >= overlap:
                    edges.append(((z, int(a)), (z + 1, int(b))))
    changed = True
    while changed:
        changed = False
        for first, second in edges:
            low = min(number[first], number[second])
            changed = changed or number[first] != number[second]
            number[first] = number[second] = low
    stack = np.zeros_like(objects)
    for z, n in nodes:
        stack[z][objects[z] == n] = number[z, n]
    return stack
