"""Write the starter checkpoint of the weather domain from a run of experiment=weather_starter.

    refine train experiment=weather_starter run=RUN
    python benchmarks/weather_starter.py RUN

It forecasts from the cut that ships with refine, so its data is set to that; weights are stored as bfloat16.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from refine.models.model import Model
from refine.settings.compose import to_yaml
from refine.storage.files import write_text
from refine.storage.runs import load_run_config

STARTER = Path(__file__).parents[1] / "domains" / "weather" / "starter"


def main(run: Path) -> None:
    """See this module."""
    model = Model.from_pretrained(run)
    model.domain.config = replace(model.domain.config, data=None, train=None, val=None, test=None)
    STARTER.mkdir(exist_ok=True)
    model.save_pretrained(STARTER, dtype=torch.bfloat16)
    config = load_run_config(run)
    config.run, config.domain = None, model.domain.config
    write_text(STARTER / "config.yaml", to_yaml(config))
    print(f"{STARTER}: {sum(p.stat().st_size for p in STARTER.iterdir()):,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
