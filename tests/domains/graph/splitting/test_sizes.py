"""The law of sizes."""

from __future__ import annotations

import itertools

from refine.domains.graph.splitting.sizes import SizeLaw


def test_sizes_that_training_never_saw_shrink_like_their_neighbours() -> None:
    law = SizeLaw.count([[1, 2, 4, 8], [1, 2, 3, 6, 12]])
    assert law.draw(0.0) == 8 and law.draw(0.99) == 12
    for n in (1, 2, 3, 5, 7, 9, 12, 100, 513):
        sizes = law.schedule(n, itertools.repeat(0.3))
        assert sizes[0] == 1 and sizes[-1] == n
        assert all(a < b <= 2 * a for a, b in itertools.pairwise(sizes))
    assert SizeLaw.from_info(law.to_info()).to_info() == law.to_info()
