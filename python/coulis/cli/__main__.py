"""`python -m coulis.cli` is `coulis`."""

from coulis.cli import main

if __name__ == "__main__":
    main()
