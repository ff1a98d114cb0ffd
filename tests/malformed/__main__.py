"""``python tests/malformed [PATTERN]``: every case, or those whose name has the pattern. What is not refused as it
should be is shown, and the exit code is 1 if there is any.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from malformed import keys, records, runs
from malformed.frame import bad

SOURCES = [keys, records, runs]  # modules with a function cases()


def main(pattern: str = "") -> int:
    """Run the cases, and say which are bad."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ.setdefault("REFINE_CACHE", cache)
        cases = [case for source in SOURCES for case in source.cases() if re.search(pattern, case.name)]
        number = 0
        for case in cases:
            for line in bad([case]):
                print(line, flush=True)
                number += 1
    print(f"{len(cases)} cases, {number} bad")
    return min(number, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
