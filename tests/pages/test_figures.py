"""Pictures of one run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fibseg.arrays import IGNORE
from fibseg.colors import class_color
from fibseg.pages.figures import overlay, save_curves, save_panels


def test_labels_over_an_image() -> None:
    """Background stays, a class is mixed with its color, an unannotated pixel is dark."""
    image = np.full((1, 3), 100, np.uint8)
    labels = np.array([[0, 1, IGNORE]], np.uint8)
    background, of_class, ignored = overlay(image, labels, 0.5)[0]
    assert background.tolist() == [100] * 3 and ignored.tolist() == [30] * 3
    color = 255 * np.array(class_color(1))
    np.testing.assert_allclose(of_class, (100 + color) / 2, atol=1)


def test_panels_and_curves_are_pictures(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), np.uint8)
    names = ["background", "er"]
    save_panels(tmp_path / "new" / "test.png", [("slice 3", pixels, pixels, pixels)], names)
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("epoch,train_loss,val_loss,val_f1_er\n0,1.0,1.1,0.2\n1,0.9,1.0,0.3\n")
    save_curves(tmp_path / "new" / "curves.png", metrics, names)
    for name, width in (("test", 1320), ("curves", 1100)):
        with Image.open(tmp_path / "new" / f"{name}.png") as picture:
            assert picture.width == width
