"""What a person looks at: HTML pages, charts, galleries, figures for a paper; `live/` serves them.

Here: drawing of numbers and labels that other packages computed.
Not here: the numbers themselves (`fibseg.scores`, `fibseg.comparison`).
"""
