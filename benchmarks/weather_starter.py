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

from refine.files import read_text, write_text
from refine.model import Model

STARTER = Path(__file__).parents[1] / "domains" / "weather" / "starter"


def main(run: Path) -> None:
    """See this module."""
    model = Model.from_pretrained(run)
    model.domain.config = replace(model.domain.config, data=None, train=None, val=None, test=None)
    STARTER.mkdir(exist_ok=True)
    model.save_pretrained(STARTER, dtype=torch.bfloat16)
    config = read_text(run / "config.yaml").replace("data: speedy", "data: null")
    write_text(STARTER / "config.yaml", config)
    print(f"{STARTER}: {sum(p.stat().st_size for p in STARTER.iterdir()):,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
