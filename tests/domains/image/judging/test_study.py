"""What images bring to a study: what each task tells, and what the judge makes of known answers."""

from __future__ import annotations

import pytest
import torch

from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.judging.study import ImageSubject
from refine.errors import RefineError

pytestmark = pytest.mark.usefixtures("judge")


@pytest.fixture(scope="module")
def subject() -> ImageSubject:
    return ImageSubject(ImageDomain(ImageConfig(data="digits", factor=2, scales=[1, 2, 4])))


def batch(subject: ImageSubject, num: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    items = subject.items("test").tensors
    return items["x"][:num], items["label"][:num]


def told(subject: ImageSubject, task: int, x: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The label, and all the rest."""
    condition = subject.condition(x, label, torch.full_like(label, task))
    subject.spec.check(condition, len(x))
    assert condition.field is not None and condition.label is not None and condition.vector is not None
    assert condition.field.shape == (len(x), 16, subject.spec.field)
    assert condition.vector.shape == (len(x), subject.spec.vector)
    return condition.label, torch.cat([condition.field.flatten(1), condition.vector], 1)


def test_generation_is_told_the_label_only(subject: ImageSubject) -> None:
    x, label = batch(subject)
    given, field = told(subject, 0, x, label)
    assert torch.equal(given, label) and not field.any()


def test_super_resolution_is_told_what_averages_over_squares_say(subject: ImageSubject) -> None:
    x, label = batch(subject)
    given, field = told(subject, 1, x, label)
    assert (given == subject.classes).all()
    shuffled = x.unflatten(2, (2, 4)).unflatten(4, (2, 4))  # (B, C, 2, 4, 2, 4)
    order = torch.randperm(16)
    within = shuffled.transpose(3, 4).flatten(4)[..., order].unflatten(4, (4, 4)).transpose(3, 4)
    same = told(subject, 1, within.flatten(4).flatten(2, 3), label)[1]
    torch.testing.assert_close(same, field)  # order within a square of the small image's pixels cannot be seen
    assert (told(subject, 1, -x, label)[1] - field).abs().max() > 0.1


def test_in_painting_is_told_the_left_half(subject: ImageSubject) -> None:
    x, label = batch(subject)
    given, field = told(subject, 2, x, label)
    assert (given == subject.classes).all()
    other = x.clone()
    other[..., 4:] = torch.randn_like(other[..., 4:])
    assert torch.equal(told(subject, 2, other, label)[1], field)
    other = x.clone()
    other[..., :4] = -x[..., :4]
    assert (told(subject, 2, other, label)[1] - field).abs().max() > 0.1


@pytest.mark.parametrize("task", [1, 2])
def test_the_vector_alone_tells_where_things_are(subject: ImageSubject, task: int) -> None:
    """A scale of one site sees the mean of a field: the broken double."""
    x, label = batch(subject)
    shifted = x.roll(1, 2)  # one pixel down
    either = [subject.condition(i, label, torch.full_like(label, task)) for i in (x, shifted)]
    first, second = (c.vector for c in either)
    assert first is not None and second is not None and (first - second).abs().max() > 0.1
    squares = x.clone()
    squares[:, :, :4], squares[:, :, 4:] = x[:, :, 4:], x[:, :, :4]
    swapped = subject.condition(squares, label, torch.full_like(label, task))
    assert swapped.field is not None and either[0].field is not None and swapped.vector is not None
    torch.testing.assert_close(swapped.field.mean(1), either[0].field.mean(1))
    assert (swapped.vector - first).abs().max() > 0.1


def test_real_images_score_best(subject: ImageSubject) -> None:
    x, label = batch(subject)
    right, noisy = (subject.score("inpainting", d, x, label) for d in (x, x + torch.randn_like(x)))
    assert right["mse"] == 0 and all(band["error"] == 0 for band in right["bands"])
    assert right["frechet"] < noisy["frechet"] and right["agreement"] > noisy["agreement"]
    mean = subject.score("generation", x.mean(0, keepdim=True).expand_as(x), x, label)
    assert mean["agreement"] < 0.3 and "mse" not in mean
    assert [band["name"] for band in mean["bands"]] == ["8x8", "4x4", "2x2"]
    assert mean["bands"][0]["error"] > 0.5  # details average out


def test_bands_of_an_error_are_where_it_is(subject: ImageSubject) -> None:
    x, label = batch(subject)
    x = x.clamp(-0.5, 0.5)
    board = (-1.0) ** (torch.arange(8)[:, None] + torch.arange(8))
    fine = subject.score("super_resolution", x + 0.2 * board, x, label)["bands"]
    coarse = subject.score("super_resolution", x + 0.2, x, label)["bands"]
    assert fine[0]["error"] > 100 * fine[2]["error"] and coarse[2]["error"] > 100 * coarse[0]["error"]


def test_what_has_no_study() -> None:
    with pytest.raises(RefineError, match="labels"):
        ImageSubject(ImageDomain(ImageConfig(data="none", size=8, channels=1, classes=0, factor=2, scales=[4])))
    with pytest.raises(RefineError, match="10x10"):
        ImageSubject(ImageDomain(ImageConfig(data="none", size=10, channels=1, classes=2, factor=2, scales=[5])))
