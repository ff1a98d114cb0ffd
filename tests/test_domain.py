"""What every domain does: which class a label means, and items as files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import TinyConfig, TinyDomain

from refine.drawing.asking import class_number
from refine.errors import RefineError
from refine.settings.keys import Key
from refine.settings.overrides import parse
from refine.types import Condition, Samples


@pytest.mark.parametrize(
    ("names", "label", "expected"),
    [
        (["1", "2", "10"], 1, 0),
        (["1", "2", "10"], "10", 2),
        (["1", "2", "10"], 10, 2),
        (["0", "2", "4"], 2, 1),
        (["01", "02", "03"], "01", 0),
        (["01", "02", "03"], 2, 1),
        (["1", "01"], "01", 1),
        (["cat", "7", "dog"], 2, 2),
        (["cat", "7", "dog"], 7, 1),
        (["cat", "7", "dog"], "2", 2),
        (["0", "1"], 1, 1),
    ],
)
def test_names_of_classes_go_before_their_numbers(names: list[str], label: Any, expected: int) -> None:
    assert class_number(label, names, "label") == expected


@pytest.mark.parametrize(
    ("names", "label", "message"),
    [
        (["1", "2", "10"], 0, "label=0 is not accepted; accepted: 1, 2, 10"),
        (["0", "2", "4"], 1, "label=1 is not accepted; accepted: 0, 2, 4"),
        (["01", "02"], 0, "accepted: 01, 02"),
        (["1", "01"], "001", "that may be any of the classes '1', '01'"),
        (["cat", "7", "dog"], 1, "label=1 is not accepted; accepted: 0, 2, cat, 7, dog"),
        (["cat", "dog"], -1, "label=-1 is not accepted"),
        (["cat", "dog"], True, "label=True is not accepted"),
        (["cat", "dog"], 1.0, "label=1.0 is not accepted"),
        (["cat", "dog"], [0], "is not accepted"),
    ],
)
def test_where_the_number_of_a_class_is_not_its_name_it_is_refused(names: list[str], label: Any, message: str) -> None:
    with pytest.raises(RefineError, match=re.escape(message)):
        class_number(label, names, "label")


@pytest.mark.parametrize(("raw", "value"), [("010", "010"), ("01", "01"), ("0", 0), ("10", 10), ("1e3", 1000.0)])
def test_numbers_that_begin_with_nought_are_names_as_they_stand(raw: str, value: Any) -> None:
    assert parse(Key("sample.label", Any, None, ""), raw) == value


class Whole(TinyDomain):
    """Writes all items at once, in a way of its own."""

    def save(self, samples: Samples, folder: Path, **options: Any) -> list[Path]:
        path = folder / f"{len(samples.items)}-{len(samples.trail[0])}-{options['strip']}.txt"
        path.touch()
        return [path, *super().save(samples, folder)]


def test_items_that_come_in_batches_are_one_archive_and_a_domain_with_a_way_of_its_own_has_all(tmp_path: Path) -> None:
    items, codes = torch.randn(5, 3), torch.arange(10).reshape(5, 2)
    batches = [
        Samples(items[:2], [codes[:2]], Condition(), [items[:2]]).with_trail_of(1),
        Samples(items[2:], [codes[2:]], Condition(), []),
    ]
    (path,) = TinyDomain(TinyConfig()).save_batches(iter(batches), 5, tmp_path, strip=1)
    with np.load(path) as file:
        assert np.array_equal(file["items"], items.numpy()) and np.array_equal(file["codes_0"], codes.numpy())
    written = Whole(TinyConfig()).save_batches(iter(batches), 5, tmp_path, strip=1)
    assert [p.name for p in written] == ["5-1-1.txt", "samples.npz"]
