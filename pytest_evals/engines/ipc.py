"""The wire: JSON messages over a private local connection.

A socket file in a folder that only the user can enter (a named pipe on Windows), with a mutual challenge on a random
key. Messages are JSON, never pickles: a process that gets a connection can send data, but nothing that runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

Packet = dict[str, Any]
_encode = json.JSONEncoder(separators=(",", ":")).encode
_CLOSE_SECONDS = 2.0
_SOCKET_PATH_BYTES = 100


class Channel:
    """One end of a connection. Any thread may send; one thread receives."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: Packet) -> None:
        """Send one message. Raises `OSError` when the other end is gone."""
        self.send_data(data_of(message))

    def send_data(self, data: bytes) -> None:
        """Send one message as `data_of` gives it."""
        with self._sending:
            self._connection.send_bytes(data)

    def receive(self) -> Packet | None:
        """Wait for a message; `None` when the other end is gone."""
        try:
            message: Packet = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            return None
        return message

    def close(self) -> None:
        """Close this end."""
        with contextlib.suppress(OSError):
            self._connection.close()

    def cut(self) -> None:
        """End the connection both ways, also while another thread waits to send or to receive."""
        # Closing does not wake a thread that waits. What is no socket cannot be shut down.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)


def data_of(message: Packet) -> bytes:
    """Return a message as it is sent."""
    return _encode(message).encode("ascii")


class UnhurriedChannel:
    """A connection whose other end may not read: a thread of its own sends, so that no other one waits.

    When the other end takes nothing for ``patience`` seconds, or ``most_bytes`` wait for it, the connection is cut.
    """

    def __init__(self, channel: Channel, patience: float = 60.0, most_bytes: int = 64 * 2**20) -> None:
        self._channel = channel
        self._patience = patience
        self._most_bytes = most_bytes
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._since = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self._sender = threading.Thread(target=self._send_all, name="evals-send", daemon=True)
        self._sender.start()

    def send(self, message: Packet) -> None:
        """Send one message, soon. Raises `OSError` when the other end is gone, or reads nothing."""
        data = data_of(message)
        with self._changed:
            if self._closed:
                raise BrokenPipeError
            if not self._bytes:
                self._since = time.monotonic()
            self._waiting.append(data)
            self._bytes += len(data)
            stuck = time.monotonic() - self._since > self._patience or self._bytes > self._most_bytes
            self._closed = stuck
            self._changed.notify()
        if stuck:
            self._channel.cut()
            raise BrokenPipeError

    def receive(self) -> Packet | None:
        """See `Channel.receive`."""
        return self._channel.receive()

    def close(self) -> None:
        """Close this end; what waits is not sent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._channel.cut()
        # It must not write to what is closed beneath it.
        self._sender.join(_CLOSE_SECONDS)
        self._channel.close()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                data = self._waiting.popleft()
            try:
                self._channel.send_data(data)
            except OSError:
                with self._changed:
                    self._closed = True
                return
            with self._changed:
                self._bytes -= len(data)
                self._since = time.monotonic()


def connect(address: str, key: str) -> Channel:
    """Connect to the `Hub` at ``address``."""
    return Channel(Client(address, authkey=bytes.fromhex(key)))


def _private_folder() -> Path:
    """Make a folder that only the user can enter, for a socket: its path may hold about 100 bytes, and not every temporary
    folder is that near to the root.
    """
    folder = Path(tempfile.mkdtemp(prefix="evals-"))
    if sys.platform != "win32" and len(os.fsencode(folder / "socket")) > _SOCKET_PATH_BYTES:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="evals-", dir="/tmp"))
    return folder


class Hub:
    """The listening end, owned by the process that owns the engines.

    Every connection starts with ``{"role": ...}``; ``on_connect(role, hello, channel)`` is called for it, in a thread of
    its own.
    """

    def __init__(self, on_connect: Callable[[str, Packet, Channel], None]) -> None:
        self.key = secrets.token_hex(32)
        self._on_connect = on_connect
        self._folder = _private_folder()
        windows = sys.platform == "win32"
        # The challenge is not the listener's: it would let one silent stranger keep all others waiting.
        self._listener = Listener(
            None if windows else str(self._folder / "socket"), "AF_PIPE" if windows else "AF_UNIX"
        )
        self.address = str(self._listener.address)
        self._closing = False
        self._acceptor = threading.Thread(target=self._accept, name="evals-switch", daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except (EOFError, OSError):
                if self._closing:
                    return
                continue
            if self._closing:
                connection.close()
                return
            threading.Thread(target=self._greet, args=(connection,), name="evals-connection", daemon=True).start()

    def _greet(self, connection: Connection[Any, Any]) -> None:
        key = bytes.fromhex(self.key)
        channel = Channel(connection)
        try:
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
        except (AuthenticationError, EOFError, OSError):
            # A stranger, or a process that died while it connected: neither concerns the others.
            channel.close()
            return
        hello = channel.receive()
        if hello is None or self._closing:
            channel.close()
        else:
            self._on_connect(hello["role"], hello, channel)

    def close(self) -> None:
        """Stop listening and remove the socket. Connections that are open stay so."""
        self._closing = True
        with contextlib.suppress(OSError, EOFError):
            # accept() does not notice that its listener is closed: a last connection wakes it.
            Client(self.address).close()
        self._acceptor.join(_CLOSE_SECONDS)
        with contextlib.suppress(OSError):
            self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)
