"""The data: reading it, names and units, calendars, and the checks that a source has to pass.

Files, URLs and the options of the domain enter. Canonical datasets, their statistics, and pairs of states as tensors
leave; :class:`~refine.domains.weather.fields.data.WeatherData` gives them by split. The room may import ``config`` and
``sphere``.
"""
