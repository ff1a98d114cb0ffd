"""Ensembles: initial times and leads, the parts that the work is cut into, and the store that it is written to.

Any object with a method ``forecast`` and the states that it starts from enter. A forecast store leaves, or the same one
goes on where it was stopped, here or on a cluster. The room may import ``sphere`` and ``fields``.
"""
