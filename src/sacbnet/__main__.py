"""`python -m sacbnet`: the command line."""

from sacbnet.cli.main import main

if __name__ == "__main__":
    main()
