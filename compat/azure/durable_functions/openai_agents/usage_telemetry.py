"""Tells the host once per process which versions of the agents' packages an app uses."""

from __future__ import annotations

_CONSOLE_LOG = "LanguageWorkerConsoleLog"
_PACKAGES = ("azure-functions-durable", "openai", "openai-agents")


class UsageTelemetry:
    """One line on the standard output, which the Functions host reads."""

    _usage_logged = False

    @classmethod
    def log_usage_once(cls) -> None:
        """Print the line, the first time only."""
        if not cls._usage_logged:
            cls._usage_logged = True
            versions = ", ".join(f"{name}={_version(name)}" for name in _PACKAGES)
            text = f"Detected OpenAI Agents SDK integration with Durable Functions. Package versions: {versions}"
            print(f"{_CONSOLE_LOG}{text}")


def _version(package: str) -> str:
    # importlib.metadata is looked up at the call, because tests replace it
    from importlib import metadata

    try:
        return metadata.version(package)
    except Exception:  # telemetry must not fail an orchestration
        return "(not installed)"


__all__ = ["UsageTelemetry"]
