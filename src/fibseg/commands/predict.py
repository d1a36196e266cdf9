"""`fibseg predict` and predict.py: label a whole stack with a trained model, slice by slice.

python predict.py checkpoint=RUN image='raw/*.png' output=labels.tif
"""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from fibseg.config import compose as configuration
from fibseg.config.command_line import readable
from fibseg.config.messages import run_with_sentences
from fibseg.machine import plain_console

# At import: Hydra needs the schemas before it composes.
configuration.register()


@hydra.main(version_base="1.3", config_path=str(configuration.CONF), config_name="predict")
def run(composed: DictConfig) -> None:
    """Label the slices that are not labelled yet, write the outputs, and say what to doubt."""
    # torch is imported here, so that --help answers at once.
    from fibseg.prediction.job import predict_stack

    config = configuration.predict_config(composed)
    predict_stack(config, plain_console(soft_wrap=True, highlight=False))


def main() -> int:
    """Run the program on `sys.argv`; gives its exit code."""
    return run_with_sentences(run, readable)


if __name__ == "__main__":
    sys.exit(main())
