"""`python -m kinetics` is the `kinetics` command."""

from kinetics.cli import main

if __name__ == "__main__":
    main()
