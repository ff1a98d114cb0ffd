"""A configuration is completed from its data, and options that do not fit are refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from refine.domains.image import ImageConfig, ImageDomain
from refine.errors import RefineError
from refine.settings.typed import typed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "digit"}, r"domain.data='digit' is not accepted; accepted: digits, .* Did you mean 'digits'"),
        ({"codec": "vae"}, "domain.codec='vae' is not accepted; accepted: conv, linear, identity"),
        ({"channels": 2}, r"domain.channels=2 is not accepted; accepted: 1 \(grey\), 3 \(RGB\)"),
        ({"size": [8, 8, 8]}, "domain.size=.* is not accepted"),
        ({"size": 0}, "domain.size=0 is not accepted"),
        ({"data": "mnist", "folder": "x"}, "domain.folder='x' is read only with domain.data=folder"),
        ({"classes": ["a", "b"]}, "domain.classes has 2 names; digits has 10 classes"),
        ({"codec": "identity", "factor": 2}, "domain.factor=2 is not accepted; accepted: 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], words: str) -> None:
    with pytest.raises(RefineError, match=words):
        ImageDomain(ImageConfig(**options))  # type: ignore[arg-type]


def test_the_completed_configuration_survives_json(digits: ImageDomain) -> None:
    values = json.loads(json.dumps(asdict(digits.config)))
    again = ImageDomain(typed(ImageConfig, values))
    assert again.config == digits.config and again.shape == digits.shape
