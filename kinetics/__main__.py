"""`python -m kinetics` is the `kinetics` command."""

from kinetics.cli.main import main

if __name__ == "__main__":
    main()
