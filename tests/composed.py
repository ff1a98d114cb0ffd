"""Imported by the process that others are forked from: settings are read from files once, not in each of them."""

from refine.kinds import DOMAINS
from refine.settings.compose import compose

for _name in ("image", "graph", "weather"):
    if isinstance(dict(DOMAINS.all())[_name], type):
        compose([f"domain={_name}"])
