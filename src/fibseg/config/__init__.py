"""From conf/ to dataclasses: schemas, range checks, and sentences for a user's mistakes.

Here: types of every key, which values are possible, what a wrong one is answered with.
Not here: values and defaults, which stand in YAML alone.
"""
