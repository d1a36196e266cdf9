"""A small forest of scikit-learn, trained on a slice of a phantom, and a model of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from fibseg.data.grey import GreyRange
from fibseg.filters.channels import Channels
from fibseg.models.features import FEATURES_PER_CHANNEL, pixel_features
from fibseg.models.forest import ForestNetwork
from fibseg.models.trained import TrainedModel
from fibseg.phantom.cell import make_phantom
from fibseg.training.forest import from_scikit_learn

FOREST_CLASSES = ["background", "mitochondrion", "membrane", "er"]


@dataclass(frozen=True)
class PhantomForest:
    """A slice (H, W), its labels, and a forest that was trained on a tenth of its pixels."""

    image: np.ndarray
    labels: np.ndarray
    trainer: RandomForestClassifier

    @property
    def features(self) -> np.ndarray:
        """(H * W, F) of the slice."""
        return pixel_features(self.image[None]).reshape(FEATURES_PER_CHANNEL, -1).T

    @property
    def network(self) -> ForestNetwork:
        """A new copy of the forest as arrays."""
        return from_scikit_learn(self.trainer, 1, len(FOREST_CLASSES))

    @property
    def model(self) -> TrainedModel:
        """The forest as a training leaves it."""
        return forest_model(self.network)


def phantom_forest() -> PhantomForest:
    images, labels = make_phantom((2, 96, 110), seed=0)
    rows = pixel_features(images[:1]).reshape(FEATURES_PER_CHANNEL, -1).T
    trainer = RandomForestClassifier(40, random_state=0, n_jobs=2)
    trainer.fit(rows[::10], labels[0].ravel()[::10])
    return PhantomForest(images[0], labels[0], trainer)


def forest_model(network: ForestNetwork) -> TrainedModel:
    return TrainedModel(
        network=network,
        architecture="forest",
        arguments=network.arguments,
        class_names=FOREST_CLASSES,
        label_values=[0, 1, 2, 3],
        channels=Channels(),
        grey_range=GreyRange(0, 255),
        voxel_sizes=[[20, 5, 5]],
        patch_size=64,
        precision="32",
        windows={"kind": "tiles", "size": 1024, "loss": 0.0, "flipped": 0.0, "slices": 0},
    )
