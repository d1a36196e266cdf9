"""What an exported file computes: a network with what surrounds it, from arrays to arrays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fibseg.models.foreign.running import Floats32
from fibseg.models.trained import TrainedModel


class ProbabilityGraph(nn.Module):
    """What an exported file computes: (N, C, H, W) grey levels -> probabilities (N, K, H, W).

    Grey levels are rounded to the 8 bits that the network was trained on, and the decision of the
    model (offsets of the classes, temperature) is part of the probabilities. What a decision says
    of small objects is not.
    """

    offsets: Tensor

    def __init__(self, model: TrainedModel):
        """Wrap the network of a model, which is on the host."""
        super().__init__()
        self.network = model.network.eval()
        self.stride = int(model.kind.network_class().stride)
        decision = model.decision
        offsets = [0.0] * len(model.class_names) if decision is None else list(decision.offsets)
        self.register_buffer("offsets", torch.tensor(offsets)[:, None, None])
        self.factor = 1.0 if decision is None else 1 / decision.temperature

    def forward(self, levels: Tensor) -> Tensor:
        """Compute the probabilities, for any H and W."""
        height, width = levels.shape[-2:]
        # As `fibseg.data.grey.to_8bit`, then as the batches of a training.
        images = levels.round().clamp(0, 255) * (1 / 255)
        # The border is repeated up to a multiple of the stride, as the network itself does it: to
        # its own padding, a graph would keep to sides that are multiples, or to all others.
        rows = self._repeated(height, levels)
        columns = self._repeated(width, levels)
        padded = images.index_select(-2, rows).index_select(-1, columns)
        scores = (self.network(padded) + self.offsets) * self.factor
        probabilities: Tensor = scores.softmax(dim=1)
        # Not by a slice, of which a trace would note whether it is a part or the whole.
        rows = torch.arange(height, device=levels.device)
        columns = torch.arange(width, device=levels.device)
        return probabilities.index_select(-2, rows).index_select(-1, columns)

    def _repeated(self, length: int, levels: Tensor) -> Tensor:
        """Positions along an axis, the last one repeated up to a multiple of the stride."""
        padded = self.stride * ((length + self.stride - 1) // self.stride)
        return torch.arange(padded, device=levels.device).clamp(max=length - 1)

    def of_array(self, levels: Floats32) -> Floats32:
        """Compute the probabilities of an array."""
        with torch.inference_mode():
            return np.asarray(self(torch.from_numpy(levels)).numpy(), np.float32)
