"""Public annotated stacks: where they are, their download, and a data description of each.

Here: records of data sets, downloads that go on after a break, archives that are unpacked with
care. Not here: files of labels in general (`fibseg.data.labels`).
"""
