"""`python -m ssblab.cli`: the command, where no script of the name is on the path."""

from ssblab.cli import main

main()
