"""orchestrator_generator_wrapper: drives an orchestrator with mocked tasks."""

from durable_ext.testing.generator_wrapper import orchestrator_generator_wrapper

__all__ = ["orchestrator_generator_wrapper"]
