"""``edgeflownas data``: list, check, measure or generate data sets."""

from __future__ import annotations

from cyclopts import App

from edgeflownas.commands.data.check import check
from edgeflownas.commands.data.listing import list_sets
from edgeflownas.commands.data.stats import stats
from edgeflownas.commands.data.synth import synth

app = App(name="data", help="List, check, measure or generate data sets.")
app.command(list_sets, name="list")
app.command(check)
app.command(stats)
app.command(synth)
