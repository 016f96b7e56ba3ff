"""`python -m vgg_sweep` is `vgg-sweep`."""

from vgg_sweep.cli import main

main()
