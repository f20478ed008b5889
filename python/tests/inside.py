"""A program that ends while a daemon thread of it is in Python code that the package has called."""

import contextlib
import threading

import coulis

begun = threading.Event()


class Slow(dict):
    """Data that takes a while to read, with the interpreter held most of the time."""

    def items(self):
        begun.set()
        for _ in range(2_000_000):
            pass
        return super().items()


def publish(executor):
    with contextlib.suppress(coulis.EngineClosed):
        executor.publish_nowait("t", "user", Slow(id=1))


if __name__ == "__main__":
    threading.Thread(target=publish, args=[coulis.SubscriptionExecutor()], daemon=True).start()
    begun.wait()
