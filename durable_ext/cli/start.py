"""`durable start`: serves a Functions app on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from durable_ext.hosting.local.launch import LaunchOptions, launch
from durable_ext.hosting.settings import HubKind


@click.command()
@click.option("--script-root", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the app.")
@click.option("-p", "--port", type=click.IntRange(0, 65535), help="Port to listen on; default 7071, 0 = a free one.")
@click.option("--host", "--address", "address", help="Address to listen on; default 127.0.0.1.")
@click.option("--hub", type=click.Choice(["embedded", "azure"]), help="Kind of task hub; default: what the settings say.")
@click.option("--cors", help="Origins that may call from a browser, separated by commas; * = all.")
@click.option("--functions", multiple=True, metavar="NAME", help="Serve only this function; may be repeated.")
@click.option("--drain", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds to finish on Ctrl-C.")
@click.option("--reload/--no-reload", default=True, help="Restart when a file of the app changes.")
@click.option("--verbose", is_flag=True, help="Show the log lines of the engine too.")
def start(**said: Any) -> int:
    """Serve the app: HTTP and timer triggers, the durable engine and its management API."""
    origins = tuple(origin.strip() for origin in (said["cors"] or "").split(",") if origin.strip())
    return launch(
        LaunchOptions(
            script_root=said["script_root"],
            port=said["port"],
            address=said["address"],
            hub=cast("HubKind | None", said["hub"]),
            cors=origins,
            functions=said["functions"],
            verbose=said["verbose"],
            reload=said["reload"],
            drain=said["drain"],
        )
    )
