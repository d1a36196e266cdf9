"""What napari reads of the plugin before it is loaded."""

from __future__ import annotations

import pytest

npe2 = pytest.importorskip("npe2", reason="no napari here (pip install 'fibseg[napari]')")


def test_napari_finds_the_plugin() -> None:
    manifest = npe2.PluginManifest.from_distribution("fibseg")
    (widget,) = manifest.contributions.widgets
    (command,) = manifest.contributions.commands
    assert widget.display_name == "Paint and train"
    assert (widget.command, command.id) == ("fibseg.annotate", "fibseg.annotate")
    assert command.python_name == "fibseg.viewer.widget:AnnotationWidget"
