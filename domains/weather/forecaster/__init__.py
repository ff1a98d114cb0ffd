"""The model: the mean network, the codec, one step with its codes, the calibration, and forecasts of many steps.

States, times and forcings enter. Members of the next states leave, and the losses that training needs. The room may
import ``config``, ``sphere`` and ``fields``; it does not know how forecasts are stored or scored.
"""
