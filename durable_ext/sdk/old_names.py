"""Whether `azure.durable_functions` is the package that stands on this engine; its folder can be another distribution's.

`azure-functions-durable` and `durable-ext-compat` ship the same files. Whichever is installed last wins, and uninstalling
one takes files of the other along; neither can say so while its own files are missing.
"""

from __future__ import annotations

import sys
from typing import Final

OLD_NAMES: Final = "azure.durable_functions"

_REINSTALL: Final = (
    "'pip install --force-reinstall --no-deps durable-ext-compat' (in a checkout: ./compat instead of the name)"
)


def foreign_package() -> str | None:
    """Return what to do if the old names that were imported are not ours, `None` if they are or were not imported."""
    package = sys.modules.get(OLD_NAMES)
    if package is None or hasattr(package, "refuse_upstream"):
        return None
    if getattr(package, "__file__", None) is None:  # a folder without __init__.py
        return (
            "The package azure.durable_functions has lost its files: uninstalling azure-functions-durable removes those of "
            f"durable-ext-compat too. Put them back: {_REINSTALL}."
        )
    return (
        "The app imports azure.durable_functions from azure-functions-durable, which works under the Durable extension "
        "only. It has replaced the files of durable-ext-compat if that was installed first. Replace it: 'pip uninstall "
        f"azure-functions-durable', then {_REINSTALL}."
    )


def is_foreign(kind: type) -> bool:
    """Whether a class of an app is azure-functions-durable's own: ours are defined in `durable_ext`."""
    return kind.__module__.startswith(f"{OLD_NAMES}.") and foreign_package() is not None
