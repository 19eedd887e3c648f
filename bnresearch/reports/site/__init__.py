"""Sites: folders of pages that open from disk, without a server or a network.

In the order of imports:

  frame    templates, assets, and what all pages have
  vega     charts that answer the mouse
  records  runs, read from their directories
  lines    curves, thinned, with the spread of seeds
  layers   what probes have measured, by layer
  run_page  sweep_page
  report   `--mode=report` writes them, once or as often as runs go on

`experiments` writes the scoreboard by the first two.
"""
