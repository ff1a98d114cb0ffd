"""The domain: its symmetries and what it says of a model that is not made."""

from __future__ import annotations

from pathlib import Path

from .tiny_forecaster import make_world, tiny_config, tiny_domain


def test_symmetries_are_permutations_of_the_sites(tmp_path: Path) -> None:
    domain = tiny_domain(make_world(tmp_path / "fields.zarr"))
    (symmetry,) = domain.symmetries()
    for k, p in enumerate(symmetry.permutations):
        assert sorted(p.tolist()) == list(range(domain.resampler().num_sites(k)))
    assert domain.describe(tiny_config())["sites"] == [12, 48]
