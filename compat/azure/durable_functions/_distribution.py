"""Refuses to run beside `azure-functions-durable`: the two share one folder."""

from __future__ import annotations

import os
import re
import sys

_METADATA = re.compile(r"^azure_functions_durable-(?P<version>[^-]+)\.(dist-info|egg-info)$", re.IGNORECASE)


def refuse_upstream() -> None:
    """Raise if the distribution whose place this one takes is installed too.

    Raises:
        ImportError: It is; the text says what to uninstall.
    """
    found = next((version for folder in sys.path if (version := _version_in(folder)) is not None), None)
    if found is not None:
        raise ImportError(
            f"azure-functions-durable {found} and durable-ext-compat are both installed and share the folder "
            f"azure/durable_functions. Keep one: 'pip uninstall azure-functions-durable', then "
            f"'pip install --force-reinstall --no-deps durable-ext-compat' (in a checkout: ./compat instead of the name)."
        )


def _version_in(folder: str) -> str | None:
    # The names in the folders are what importlib.metadata looks at too; it takes ten times as long to load.
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return None
    return next((match["version"] for name in names if (match := _METADATA.match(name))), None)
