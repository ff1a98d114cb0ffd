from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from refine.domains.image import ImageDomain
from refine.domains.image.data.dataset import ImageDataset
from refine.domains.image.judging.classifier import RECIPE, Classifier, accuracy, predict, trained_classifier
from refine.errors import RefineError

QUICK = replace(RECIPE, images_seen=1, epochs=2)


def test_digits_are_told_apart_and_the_accuracy_is_what_it_says(digits: ImageDomain, judge: None) -> None:
    train, test = digits.images("train"), digits.images("test")
    model = trained_classifier(train, test, 10)
    assert float(model.accuracy) >= 0.97
    assert accuracy(model, test.pixels, test.labels) == pytest.approx(float(model.accuracy))
    assert f"{float(model.accuracy):.2%}" in model.name()
    features, classes = predict(model, test.pixels, batch_size=100)
    assert features.shape == (360, model.num_features) and classes.shape == (360,)
    again = model.head(features).argmax(1)
    assert torch.equal(again, classes)


def test_training_is_seeded_kept_and_used_again(
    digits: ImageDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFINE_CACHE", str(tmp_path / "a"))
    train, test = digits.images("train"), digits.images("test")
    state = torch.get_rng_state()
    first = trained_classifier(train, test, 10, recipe=QUICK).state_dict()
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's randomness is touched
    (weights,), (about,) = tmp_path.rglob("*.safetensors"), tmp_path.rglob("*.json")
    assert json.loads(about.read_text())["test_accuracy"] == pytest.approx(float(first["accuracy"]))
    stamp = weights.stat().st_mtime_ns
    cached = trained_classifier(train, test, 10, recipe=QUICK).state_dict()
    assert weights.stat().st_mtime_ns == stamp
    weights.write_bytes(weights.read_bytes()[:1000])  # damaged: made again
    repaired = trained_classifier(train, test, 10, recipe=QUICK).state_dict()
    for name, value in first.items():
        assert torch.equal(value, cached[name]) and torch.equal(value, repaired[name])


def test_other_data_has_another_classifier(
    digits: ImageDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFINE_CACHE", str(tmp_path))
    train, test = digits.images("val"), digits.images("test")
    trained_classifier(train, test, 10, recipe=QUICK)
    changed = train.pixels.clone()
    changed[0, 0, 0, 0] += 1
    trained_classifier(ImageDataset(changed, train.labels), test, 10, recipe=QUICK)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 32, 32), (3, 100, 30), (1, 1, 9)])
def test_any_shape_is_taken(shape: tuple[int, int, int]) -> None:
    model = Classifier(shape, 5).eval()
    assert model(torch.zeros(2, *shape)).shape == (2, 5)
    assert model.features(torch.zeros(2, *shape)).shape == (2, model.num_features)


def test_images_without_labels_have_no_classifier(digits: ImageDomain) -> None:
    test = digits.images("test")
    with pytest.raises(RefineError, match="two labelled classes"):
        trained_classifier(ImageDataset(test.pixels, None), test, 10)
