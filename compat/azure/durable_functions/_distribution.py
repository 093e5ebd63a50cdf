"""Refuses to run beside `azure-functions-durable`: the two share one folder."""

from __future__ import annotations

from importlib import metadata


def refuse_upstream() -> None:
    """Raise if the distribution whose place this one takes is installed too.

    Raises:
        ImportError: It is; the text says what to uninstall.
    """
    try:
        found = metadata.version("azure-functions-durable")
    except metadata.PackageNotFoundError:
        return
    raise ImportError(
        f"azure-functions-durable {found} and durable-ext-compat are both installed and share the folder "
        f"azure/durable_functions. Keep one: 'pip uninstall azure-functions-durable', then "
        f"'pip install --force-reinstall --no-deps durable-ext-compat'."
    )
