"""Models in the formats of others: ONNX files, and packages of bioimage.io.

Here: reading them as trained models; the graph that such files hold. Not here: writing them
(`fibseg.export`).
"""
