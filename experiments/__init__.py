"""Experiments: one runnable study per published figure, table or claim.

`python -m experiments` lists them with the verdicts of their last results.
`_study.py` runs one that trains a sweep and brings config, `judge` and `draw`;
`_inception.py` has what the studies of Inception share. Speed is measured in
`benchmarks`.

`python -m experiments --output=experiments/README.md` writes the page of all of
them. It comes from each study's file:

  its text    a title, then Claim, Source, Scale, Room, Config, Command, Cost,
              Result and perhaps Not run, what it could do and has not done.
              Then the method. The scoreboard leaves out what a Source has in
              parentheses. A Scale that begins with "as published" is that.
              Room is the folder of bnresearch/ that it is about.
  NOTES       in Markdown, what its numbers do not say by themselves
  table       makes a `_table.Table` of a result, if there is more than claims
  curves      makes `_chart.Curves` of a result, if it has any
  COMMANDS    {result: command} of results that other flags than Command's made

`--all --scale=ci` runs all of them as a trial, by `_all.py`; `_scale.py` says
what the scales are. A parser takes `ci={'flag': value}` where the usual trial
does not suit a study, and `paper={...}` if it has a published scale.

`--report=FOLDER` writes the same as a site, by `_site.py` and the templates.
`--verdicts=README.md` writes the verdicts on the paper's main claims between
the lines <!-- verdicts --> and <!-- /verdicts -->.
"""
