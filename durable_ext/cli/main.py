"""The `durable` command: its subcommands, and how errors end the process."""

from __future__ import annotations

import sys

import click

from durable_ext.cli.start import start
from durable_ext.errors import DurableError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="durable-ext", prog_name="durable", message="%(prog)s_ext %(version)s")
def commands() -> None:
    """Durable Functions for Python without the .NET extension."""


commands.add_command(start)


def main() -> None:
    """Run the command line; errors on purpose are one red line on stderr and exit code 1."""
    try:
        code = commands.main(prog_name="durable", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except click.Abort:
        sys.exit(130)
    except DurableError as exc:
        click.secho(str(exc), fg="red", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
