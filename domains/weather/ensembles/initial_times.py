"""When forecasts begin and how far they go: what ``ensemble.start`` and ``ensemble.lead`` may say."""

from __future__ import annotations

import datetime
import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from refine.commands.ensemble import DATE, START
from refine.errors import RefineError, require, shown
from refine.progress import warn

ACCEPTED = f"null for the last that can be verified, {START.words}, or a list of these"
DURATION = re.compile(r"(\d+)\s*(d|h)")
MOST_STEPS = 100_000  # of a forecast: 250 years of days


def stamps(times: Any) -> list[str]:
    """Times of any calendar (datetime64 or cftime) as texts like ``2021-01-31T12:00``."""
    if np.issubdtype(np.asarray(times).dtype, np.datetime64):
        return [str(text) for text in np.datetime_as_string(np.asarray(times), unit="m")]
    return [f"{t.year:04}-{t.month:02}-{t.day:02}T{t.hour:02}:{t.minute:02}" for t in times]


def shifted(time: Any, by: np.timedelta64) -> Any:
    """A time (datetime64 or cftime) that much later."""
    return (
        time + by if isinstance(time, np.datetime64) else time + by.astype("timedelta64[s]").astype(datetime.timedelta)
    )


def valid_times(times: Any, leads: Any) -> Any:
    """(T, L): when the fields of T initial times (datetime64 or cftime) and L leads are for."""
    return np.array([[shifted(time, lead) for lead in np.asarray(leads)] for time in np.asarray(times)])


def hours(duration: np.timedelta64) -> int:
    """A duration in whole hours."""
    return int(duration / np.timedelta64(1, "h"))


def parse_duration(text: Any, key: str, accepted: str) -> np.timedelta64:
    """``10d`` or ``240h``; more than nothing.

    Raises:
        RefineError: anything else; ``accepted`` says what would do.
    """
    match = DURATION.fullmatch(str(text).strip())
    good = match is not None and len(match[1]) < 8 and int(match[1]) > 0  # more than anybody's life
    require(good, f"{key}={shown(text)} is not accepted; accepted: {accepted}")
    assert match is not None
    return np.timedelta64(int(match[1]) * (24 if match[2] == "d" else 1), "h")


def lead_steps(lead: Any, step: np.timedelta64) -> int:
    """How many steps of the model ``ensemble.lead`` is.

    Raises:
        RefineError: no duration, or not a whole number of steps.
    """
    each = hours(step)
    accepted = f"whole steps of {each} h, in days or hours, e.g. {10 * each}h" + ("" if 10 * each % 24 else " = ")
    accepted += "" if 10 * each % 24 else f"{10 * each // 24}d"
    total = hours(parse_duration(lead, "ensemble.lead", accepted))
    require(total % each == 0, f"ensemble.lead={lead!r} is not accepted; accepted: {accepted}")
    accepted += f"; {MOST_STEPS:,} steps at most"
    require(total // each <= MOST_STEPS, f"ensemble.lead={lead!r} is not accepted; accepted: {accepted}")
    return total // each


class AbsentError(RefineError):
    """A date that is understood, and that the data do not have."""


class Timeline:
    """The times of a data set, and which of them a forecast can start from.

    Attributes:
        times: T times, ascending; datetime64 or cftime.
        stamps: the same as texts.
        step: that the model goes at a time.
    """

    def __init__(self, times: Any, step: np.timedelta64, branch: Any = None) -> None:
        self.times, self.step = np.asarray(times), step
        self.branch = None if branch is None else np.asarray(branch)
        self.stamps = stamps(self.times)
        self._index = {stamp: i for i, stamp in enumerate(self.stamps)}

    def at(self, index: int, steps: int) -> int | None:
        """Where the field ``steps`` steps after field ``index`` is, in the same run; None if it is missing."""
        other = self._index.get(stamps([shifted(self.times[index], steps * self.step)])[0])
        apart = other is not None and self.branch is not None and self.branch[index] != self.branch[other]
        return None if apart else other

    def choose(self, start: Any, steps: int, candidates: Any) -> list[int]:
        """The initial times that ``ensemble.start`` means.

        Args:
            start: see :data:`ACCEPTED`; ``all`` and ``every:`` go by the candidates. Of a list, what means no time is
                left out and counted.
            steps: how far the forecasts go; candidates whose last step can be verified are preferred.
            candidates: the times of the split.

        Returns:
            Indices of :attr:`times`, ascending.

        Raises:
            RefineError: not understood, or nothing that is in the data with the field one step before; names what is
                accepted.
        """
        if start is None:
            return self.preferred(steps, candidates)[:1]
        verified = self._verified(steps, candidates)
        items = start if isinstance(start, list) else [start]
        require(bool(items), f"ensemble.start=[] is not accepted; accepted: {ACCEPTED}")
        found, lost = set[int](), list[RefineError]()
        for item in items:
            try:
                found.update(self._meant(str(item).strip(), verified))
            except AbsentError as error:
                lost.append(error)
        if lost and not found:
            raise lost[0]
        if lost:
            warn(f"{len(lost)} of {len(items)} entries of ensemble.start are left out: {lost[0]}")
        return sorted(found)

    def preferred(self, steps: int, candidates: Any) -> list[int]:
        """The initial times that null means, the best first: from the last of those that can be verified, else from the
        first.

        Raises:
            RefineError: there are none.
        """
        found = self._verified(steps, candidates)
        require(bool(found), "ensemble.start=null is not accepted: the split has no initial time; give a date")
        return found[::-1] if self.at(found[-1], steps) is not None else found

    def _verified(self, steps: int, candidates: Any) -> list[int]:
        inside = [self._index[stamp] for stamp in stamps(candidates) if stamp in self._index]
        possible = [i for i in inside if self.at(i, -1) is not None]
        return [i for i in possible if self.at(i, steps) is not None] or possible

    def _meant(self, text: str, verified: Sequence[int]) -> list[int]:
        if text == "all":
            found = list(verified)
        elif text.startswith("every:"):
            found = self._every(text, verified)
        elif ".." in text:
            first, last = (self._day(part.strip(), text) for part in text.split("..", 1))
            # as texts they sort as the times do, and a day reaches to its last hour
            within = [i for i, s in enumerate(self.stamps) if first <= s and s[: len(last)] <= last]
            found = [i for i in within if self.at(i, -1) is not None]
        else:
            return [self._date(text)]
        if not found:
            raise self._absent(text, "it means no time that has a field one step before")
        return found

    def _every(self, text: str, verified: Sequence[int]) -> list[int]:
        interval = parse_duration(text.removeprefix("every:"), "ensemble.start=every", "every:8d, every:12h, ...")
        ages = [_seconds(self.times[i] - self.times[verified[0]]) for i in verified]
        return [i for i, age in zip(verified, ages, strict=True) if age % (3600 * hours(interval)) == 0]

    def _day(self, text: str, whole: str) -> str:
        if not re.fullmatch(DATE, text):
            raise self._error(whole, f"{text!r} is no date")
        return text.replace(" ", "T")

    def _date(self, text: str) -> int:
        """The index of a date: exactly, or the only time of that day (or hour)."""
        begin = self._day(text, text)
        index = self._index.get(begin + "2021-01-01T00:00"[len(begin) :])
        if index is None:
            fits = [i for i, stamp in enumerate(self.stamps) if stamp.startswith(begin)]
            if len(fits) > 1:
                raise self._error(text, f"the data has {', '.join(self.stamps[i] for i in fits)}; give the hour")
            if not fits:
                raise self._absent(text, "the data has no field at that time")
            index = fits[0]
        if self.at(index, -1) is None:
            before = stamps([shifted(self.times[index], -self.step)])[0]
            raise self._absent(text, f"a forecast needs the field one step before too, and {before} is missing")
        return index

    def _error(self, text: str, why: str) -> RefineError:
        return RefineError(self._message(text, why))

    def _absent(self, text: str, why: str) -> RefineError:
        return AbsentError(self._message(text, why))

    def _message(self, text: str, why: str) -> str:
        possible = [stamp for i, stamp in enumerate(self.stamps) if self.at(i, -1) is not None]
        span = f"{possible[0]} to {possible[-1]}" if possible else "nothing: no two fields are one step apart"
        near = bisect_left(possible, text)
        if 0 < near < len(possible):
            span += f" (nearest: {possible[near - 1]}, {possible[near]})"
        return f"ensemble.start={text!r} is not accepted: {why}; accepted: {ACCEPTED}; forecasts can start from {span}"


def _seconds(difference: Any) -> int:
    """A difference of times of any calendar."""
    if isinstance(difference, datetime.timedelta):
        return round(difference.total_seconds())
    return int(difference / np.timedelta64(1, "s"))
