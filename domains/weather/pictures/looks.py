"""How a channel is drawn: the unit that people read it in, its colours, its contour lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.fields.names import describe, split_level

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

Array = NDArray[np.float64]
SPREAD, DIFFERENCE = "YlOrBr", "RdBu_r"  # lightness falls with the spread; white where nothing differs
OUTLIERS = 0.2  # per cent at either end that may lie beyond the colour bar


@dataclass(frozen=True)
class Look:
    """How fields of one kind are drawn.

    Attributes:
        title: what it is, in words.
        unit: in which it is drawn.
        scale, offset: drawn number = scale * stored number + offset.
        colours: name of a perceptually uniform colour map.
        centred: zero is the middle of the colours.
        contour: interval of contour lines on top, in ``unit``; 0 for none.
    """

    title: str
    unit: str
    scale: float = 1.0
    offset: float = 0.0
    colours: str = "viridis"
    centred: bool = False
    contour: float = 0.0

    def drawn(self, field: Any) -> Array:
        """Stored numbers in the unit of the picture."""
        return np.asarray(field, dtype=np.float64) * self.scale + self.offset

    def drawn_difference(self, field: Any) -> Array:
        """The same of a difference or a spread, which has no offset."""
        return np.asarray(field, dtype=np.float64) * self.scale

    @property
    def difference_unit(self) -> str:
        """The unit of a difference: kelvin, not degrees Celsius."""
        return "K" if self.unit == "°C" else self.unit


_WIND = Look("wind", "m/s", colours="RdBu_r", centred=True)
LOOKS = {
    "geopotential": Look("geopotential height", "dam", scale=1 / 98.0665, contour=8.0),
    "temperature": Look("temperature", "°C", offset=-273.15, colours="plasma"),
    "specific_humidity": Look("specific humidity", "g/kg", scale=1e3, colours="YlGnBu"),
    "mean_sea_level_pressure": Look("mean sea level pressure", "hPa", scale=1e-2, contour=8.0),
    "surface_pressure": Look("surface pressure", "hPa", scale=1e-2),
    "total_precipitation": Look("precipitation", "mm", scale=1e3, colours="YlGnBu"),
    "u_component_of_wind": replace(_WIND, title="eastward wind"),
    "v_component_of_wind": replace(_WIND, title="northward wind"),
}
SIGNED = ("vorticity", "divergence", "velocity", "anomaly", "flux", "stress")  # either way from zero


def look_of(channel: str, units: str = "") -> Look:
    """How to draw a channel such as ``geopotential_500`` or ``10m_u_component_of_wind``.

    Args:
        channel: the name of the field.
        units: those it is stored in; they are shown as they are where the channel is not known.
    """
    name, level = split_level(channel)
    found = re.fullmatch(r"(?:(\d+)m_)?(.+?)(?:_(\d+)hr)?", name)
    height, base, hours = found.groups() if found else (None, name, None)
    words = base.replace("_", " ")
    plain = Look(words, pretty_unit(units or describe(channel).units), centred=any(w in words for w in SIGNED))
    look = LOOKS.get(base, plain)
    before = [f"{number} {unit}" for number, unit in ((hours, "h"), (height, "m"), (level, "hPa")) if number]
    return replace(look, title=" ".join([*before, look.title]))


def pretty_unit(units: str) -> str:
    """``m2 s-2`` as m² s⁻²; ``kg kg-1`` as kg kg⁻¹."""
    raised = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
    return re.sub(r"(?<=[A-Za-z])-?\d+\b", lambda found: found[0].translate(raised), units)


def limits(fields: Any, centred: bool = False, from_zero: bool = False) -> Normalize:
    """Common colours for all of ``fields``: their range but for a few outliers, symmetric about zero where centred."""
    from matplotlib.colors import Normalize

    values = np.asarray(fields)
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [OUTLIERS, 100 - OUTLIERS]) if values.size else (0.0, 1.0)
    if centred:
        most = float(np.percentile(abs(values), 100 - OUTLIERS)) if values.size else 1.0
        low, high = -most, most
    low = 0.0 if from_zero else low
    if not high - low > 1e-12 * max(1.0, abs(high)):  # one number everywhere
        low, high = (0.0 if from_zero else low - 1), max(high, low) + 1
    return Normalize(float(low), float(high))
