"""`python -m trackside_cli`: the command line without an installed script."""

from trackside_cli.main import main

if __name__ == "__main__":
    main()
