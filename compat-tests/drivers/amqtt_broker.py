"""Runs the broker amqtt: arguments are certificate, key, and a URL for each listener. Prints `ready` when all listen."""
import asyncio
import logging
import signal
import sys
from urllib.parse import urlsplit

from amqtt.broker import Broker


async def main():
    certificate, key, *urls = sys.argv[1:]
    listeners = {}
    for text in urls:
        url = urlsplit(text)
        listener = {"type": "ws" if url.scheme in ("ws", "wss") else "tcp", "bind": f"{url.hostname}:{url.port}"}
        if url.scheme in ("mqtts", "wss"):
            listener |= {"ssl": True, "certfile": certificate, "keyfile": key}
        # The first listener has to be called so; its settings are the others' defaults, hence the plain one goes first.
        listeners[url.scheme if listeners else "default"] = listener
    broker = Broker({"listeners": listeners, "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}})
    await broker.start()
    print("ready", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await broker.shutdown()


logging.basicConfig(level=logging.WARNING)
asyncio.run(main())
