"""A model of the plain .NET worker, written from the storage format alone: it shares no code with `durable_ext`."""
