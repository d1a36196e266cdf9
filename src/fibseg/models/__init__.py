"""Networks and forests, what they have in common, and the files they are kept in.

Here: the table of kinds, a module per network, features of pixels, trained models, first weights.
Not here: training them (`fibseg.training`), using them on slices (`fibseg.prediction`).
"""

from fibseg.models.kinds import (
    ALL_WINDOWS,
    KINDS,
    Kind,
    create_model,
    model_kind,
    network_size,
)

# The other modules are imported by their full names: they need torch, which the table does without.
__all__ = ["ALL_WINDOWS", "KINDS", "Kind", "create_model", "model_kind", "network_size"]
