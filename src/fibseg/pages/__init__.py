"""What a person looks at: HTML pages, charts, galleries, figures for a paper.

Here: drawing of what others computed.
Not here: the numbers themselves (`fibseg.scores`, `fibseg.comparison`).
"""
