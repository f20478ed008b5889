"""`python -m coulis.cli` is `coulis`."""

from coulis.cli import main

main()
