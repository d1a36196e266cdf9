"""Means and variances of batch norms: how far activations are from them, and new ones.

Here: what a network and images give. Not here: what a prediction does with it
(`fibseg.prediction.adaptation`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

_LARGEST = 20.0
"""A single channel counts for this much at most."""


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """List the batch norms of a network."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def activation_shifts(network: nn.Module, batches: Iterable[Tensor]) -> list[float]:
    """Measure how far the activations of each batch are from those of the training.

    It is the symmetric Kullback-Leibler divergence of two normal distributions, of a channel's
    activations here and as a batch norm keeps them of the training, in the mean over channels and
    batch norms.

    Args:
        network: with batch norms; it is put in evaluation mode.
        batches: (N, C, H, W) as the network takes them.
    """
    values: list[float] = []

    def compare(norm: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        activations = inputs[0].float()
        variance = activations.var((0, 2, 3), unbiased=False) + norm.eps
        kept = norm.running_var + norm.eps
        distance = (activations.mean((0, 2, 3)) - norm.running_mean).square()
        divergence = variance / kept + kept / variance - 2 + distance * (1 / variance + 1 / kept)
        values.append(float((divergence / 4).clamp(max=_LARGEST).mean()))

    result = []
    network.eval()
    hooks = [norm.register_forward_hook(compare) for norm in batch_norms(network)]
    try:
        # Inference mode would make new statistics inference tensors, which no later pass changes.
        with torch.no_grad():
            for images in batches:
                values.clear()
                network(images)
                result.append(float(np.mean(values)))
    finally:
        for hook in hooks:
            hook.remove()
    return result


def with_statistics_of(network: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Give a copy of a network whose batch norms have the means and variances of batches.

    They are the means over the batches of each batch's own (N, C, H, W).
    """
    network = copy.deepcopy(network).eval()
    norms = batch_norms(network)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        # None: the mean of all batches, with equal weights.
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for images in batches:
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return network
