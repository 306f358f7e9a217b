"""What a service that is about to end tells clients and load balancers."""


class Draining:
    """Whether this process is still ready, and whether answers keep their connections open."""

    def __init__(self) -> None:
        self.ready = True
        self.closing = False
        """Every answer ends its connection (`Connection: close`), so that clients leave in good
        order: one that sent a request on a connection just as it was closed would lose it."""

    def begin(self) -> None:
        """The service ends soon: load balancers should choose another one."""
        self.ready = False
        self.closing = True

    def close_connections(self) -> None:
        """This process ends; another one may serve on in its place."""
        self.closing = True
