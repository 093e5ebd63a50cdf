"""`python -m durable_ext`: the `durable` command where its script is not on the path."""

from durable_ext.cli.main import main

if __name__ == "__main__":
    main()
