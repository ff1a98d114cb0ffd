"""Weather: probabilistic forecasts on the sphere, scale by scale.

The rooms stand in the order in which they may import: each one imports only from those above it. Nothing imports
``domain.py`` but the entry point.

    config.py                options of the domain and of its model
       |
    sphere/                  grids, harmonics, cells, regridding, the scales
       |
    fields/                  zarr and netCDF  ->  checked fields, splits, pairs of states
       |
    ensembles/               states  ->  members, written to a forecast store
       |
    scores/                  forecast store and truth  ->  numbers
       |
    forecaster/              states  ->  the next state and what is not certain about it
       |
    pictures/                forecasts and scores  ->  maps, curves, tables, reports
       |
    regrid_command.py        refine regrid
    ensemble_command.py      refine ensemble
    evaluate_command.py      refine evaluate
       |
    domain.py                what the core asks of the domain

``embedded/`` and ``starter/`` hold the data and the model that ship with refine.
"""
