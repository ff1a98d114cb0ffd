"""`refine evaluate domain=weather`: a forecast store beside all that needs no model, and what is significant."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refine.domains.weather.ensembles.initial_times import stamps
from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.fields import checks
from refine.domains.weather.fields.data import WeatherData
from refine.domains.weather.fields.names import describe
from refine.domains.weather.fields.sources import locate
from refine.domains.weather.fields.units import suspected
from refine.domains.weather.fields.whole import possible_only
from refine.domains.weather.scores import baselines
from refine.domains.weather.scores.bootstrap import mean
from refine.domains.weather.scores.climatology import Climatology
from refine.domains.weather.scores.comparison import compare, plain, scored
from refine.domains.weather.scores.scores import score_forecast
from refine.domains.weather.scores.stability import stability
from refine.domains.weather.scores.verification import LEAD, NUMBER, TIME
from refine.errors import RefineError, require, shown
from refine.progress import warn
from refine.storage.files import write_text
from refine.storage.plain_json import read_json

if TYPE_CHECKING:
    import xarray as xr

FILE = "scores.json"
REFERENCE_PARTS = ("energy",)


def evaluate_store(
    store: str | Path, domain: WeatherData, folder: Path, floors: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Score a forecast store against the domain's data and write all of it to ``folder/scores.json``.

    Args:
        store: what ``refine ensemble`` wrote, a WeatherBench2-style store, or one with levels in its names.
        domain: truth and training years.
        folder: of the run.
        floors: relative quantisation error by channel, which stands beside the scores.

    Returns:
        What :func:`evaluate` and :func:`published` return, and ``store``.

    Raises:
        RefineError: no forecast, on another grid, of times that the data does not have, or in units that it does not
            say.
    """
    forecast = open_forecast(store)
    channels = [c for c in domain.channels if c in forecast.data_vars]
    there, wanted = ", ".join(map(str, forecast.data_vars)), ", ".join(domain.channels)
    require(bool(channels), f"forecast {str(store)!r} has {there}; none of {wanted}")
    _in_their_units(forecast[channels], f"forecast {str(store)!r}")
    found = evaluate(forecast[channels], possible_only(domain.fields()), domain.whole("train"), floors)
    for channel in channels:
        _tell(channel, found)
    found |= {"published": published(domain, found), "store": str(store)}
    write_text(folder / FILE, json.dumps(found) + "\n")
    return found


def _tell(channel: str, found: Mapping[str, Any]) -> None:
    """Say how many forecasts of a channel do not count."""
    truth, forecast = (sum(found["variables"][channel]["left_out"][key]) for key in ("truth", "forecast"))
    if truth or forecast:
        of = f"of {len(found['initial_times'])} initial times at {len(found['leads'])} leads"
        why = f"{truth} as truth has no values that can be, {forecast} as they miss values that truth has"
        warn(f"{channel}: {truth + forecast} forecasts {of} are left out: {why}")


def _in_their_units(forecast: xr.Dataset, where: str) -> None:
    """Raise RefineError where the first field of a channel looks like one in other units; as wild as it likes else."""
    for name, field in checks.load(forecast.isel({NUMBER: 0, TIME: 0, LEAD: 0}), where).items():
        low, high = float(field.min()), float(field.max())
        if suspected(describe(str(name)), low, high):
            checks.within(str(name), low, high, where)


def evaluate(
    forecast: xr.Dataset,
    truth: xr.Dataset,
    train: xr.Dataset,
    floors: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Scores of a forecast and of all references on the same initial times and leads.

    Returns:
        What :func:`score_forecast` returns, and ``stability`` (:func:`stability`), ``references`` (by name,
        scores as of a forecast), and ``against`` (by name, what :func:`compare` says).
    """
    channels = [str(n) for n in forecast.data_vars if n in truth.data_vars]
    climatology = Climatology.fit(train, channels)
    result = score_forecast(forecast, truth, climatology, floors=floors)
    result["stability"] = stability(forecast, climatology, channels)
    found = reference_scores(
        truth[channels], train[channels], climatology, forecast[TIME].values, forecast[LEAD].values
    )
    result["against"] = {name: compare(result, reference) for name, reference in found.items()}
    result["references"] = {name: {k: v for k, v in r.items() if k != "by_time"} for name, r in found.items()}
    return result


def reference_scores(
    truth: xr.Dataset, train: xr.Dataset, climatology: Climatology, times: Any, leads: Any
) -> dict[str, dict[str, Any]]:
    """Scores of persistence, climatology, damped persistence, probabilistic climatology and dressed persistence.

    Damped persistence has the CRPS of a normal law about it. References that draw from the season of training years,
    or that need training times a lead apart, are left out where there are none.
    """
    given: dict[str, Callable[[], xr.Dataset]] = {
        "persistence": lambda: baselines.persistence(truth, times, leads),
        "climatology": lambda: baselines.climatology_forecast(truth, climatology, times, leads),
        "probabilistic climatology": lambda: baselines.probabilistic_climatology(train, times, leads),
        "dressed persistence": lambda: baselines.dressed_persistence(truth, train, times, leads),
    }
    damping: baselines.Damping | None = None
    with suppress(RefineError):
        damping = fitted = baselines.Damping.fit(train, climatology, leads)
        given["damped persistence"] = lambda: baselines.damped_persistence(truth, climatology, fitted, times, leads)
    out: dict[str, dict[str, Any]] = {}
    for name, make in given.items():
        forecast = None
        with suppress(RefineError):
            forecast = make()
            out[name] = score_forecast(forecast, truth, climatology, parts=REFERENCE_PARTS)
        if forecast is not None and name in out and damping is not None and name == "damped persistence":
            for channel, crps in baselines.gaussian_crps(forecast, damping, truth).items():
                out[name]["variables"][channel]["crps"] = scored(mean, crps)
                out[name]["by_time"]["crps"][channel] = plain(crps)
    return out


def published(domain: WeatherData, result: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of the ``baselines.json`` beside the domain's data, by channel, at the leads of a result.

    ``set`` says of which initial times: those of the physics ensemble if the result is of the same, else all of the
    test year. Empty where there is no such file.
    """
    folder = Path(locate(domain.config.data)).parent
    path, ensemble = folder / "baselines.json", folder / "speedy_t31_physics_ensemble.zarr"
    if not path.is_file():
        return {}
    rows = read_json(path)
    same = ensemble.exists() and stamps(open_forecast(ensemble)[TIME].values) == result["initial_times"]
    name = "ens13" if same else "test_all"
    days = [hours / 24 for hours in result["lead_hours"]]
    try:
        return {"set": name} | _rows(rows, name, days, result["variables"])
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise RefineError(f"{path} is no file of published scores ({shown(error)}); move it away") from None


def _rows(rows: Mapping[str, Any], name: str, days: list[float], wanted: Container[str]) -> dict[str, Any]:
    columns = [rows["leads_days"].index(day) if day in rows["leads_days"] else None for day in days]
    out: dict[str, Any] = {}
    for short, channel in rows["names"].items():
        if channel in wanted:
            table = dict(rows["scores"][short][name])
            physics = table.pop("physics_ensemble", {})
            table |= {f"physics_ensemble_{key}": values for key, values in physics.items()}
            out[channel] = {key: [None if c is None else _number(v[c]) for c in columns] for key, v in table.items()}
    return out


def _number(value: Any) -> float | None:
    if value is not None and type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return value  # type: ignore[no-any-return]
