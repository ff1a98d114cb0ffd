from __future__ import annotations

from refine.domains.weather.pictures.sheets import columns_for


def test_rows_are_filled() -> None:
    assert [columns_for(n, 6) for n in (1, 5, 12, 22, 24)] == [1, 5, 6, 6, 6]
    assert [columns_for(n, 4) for n in (4, 6, 9)] == [4, 3, 3]
