"""What people look at: maps, plumes, curves, tables for the terminal, and reports as one HTML file.

Forecast stores, results of ``scores`` and a trained forecaster enter. PNG and HTML files and tables leave. The room may
import all other rooms; only the commands and ``domain.py`` import it.
"""
