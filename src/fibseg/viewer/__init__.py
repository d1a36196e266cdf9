"""The plugin of napari: a window on an annotation project.

Here: layers, buttons and what they call. Not here: what they do (`fibseg.annotation`). It needs
`pip install 'fibseg[napari]'`.
"""
