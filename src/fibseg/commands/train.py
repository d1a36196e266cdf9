"""`fibseg train` and train.py: one training run, or a sweep of runs with -m.

python train.py data=vnc data.root=DIR experiment=quick seed=1
"""

from __future__ import annotations

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fibseg.config import compose as configuration
from fibseg.config.command_line import readable
from fibseg.config.descriptions import require_plain_descriptions
from fibseg.config.messages import run_with_sentences
from fibseg.machine import plain_console
from fibseg.runs.directory import RunDirectory
from fibseg.runs.masking import without_secrets

# At import: Hydra needs the schemas before it composes.
configuration.register()


@hydra.main(version_base="1.3", config_path=str(configuration.CONF), config_name="train")
def run(composed: DictConfig) -> float:
    """Train and score one run; gives the mean F1 of the classes over the validation slices."""
    # torch and Lightning are imported here, so that --help answers at once.
    from fibseg.training.run import train_or_report

    config, plain = configuration.train_config(composed)
    # They are written to scores.json as what was typed.
    overrides = without_secrets(list(HydraConfig.get().overrides.task))
    directory = RunDirectory(configuration.run_path(config, plain))
    return train_or_report(
        config=config,
        plain=plain,
        overrides=overrides,
        directory=directory,
        console=plain_console(soft_wrap=True),
    )


def main() -> int:
    """Run the program on `sys.argv`; gives its exit code."""
    return run_with_sentences(run, _prepared)


def _prepared(typed: list[str]) -> list[str]:
    """Arguments for Hydra, once the data descriptions that they name are known to be plain."""
    require_plain_descriptions(typed)
    # Hydra reads the folders of configurations from the command line only.
    return configuration.with_user_folder(readable(typed))


if __name__ == "__main__":
    sys.exit(main())
