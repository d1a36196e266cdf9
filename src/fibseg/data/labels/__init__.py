"""Labels as people have them: which program wrote them, where they lie, where a person looked.

Here: files of labels, their place in the image, reviewed regions, imports of other programs'
labels. Not here: what a data description makes of them (`fibseg.data.volume`).
"""
