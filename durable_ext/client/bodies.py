"""JsonBody: a request body that is JSON text already; knows no transport."""


class JsonBody(str):
    """JSON text that is sent as it is; other texts go out as a JSON string, the double encoding of 1.x clients."""
