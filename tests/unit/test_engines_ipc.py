"""The wire: JSON over a private local connection."""

from __future__ import annotations

import os
import queue
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from pathlib import Path

import pytest

from pytest_evals.engines.ipc import Channel, Hub, Packet, UnhurriedChannel, connect

SECONDS = 60


class Server:
    """A switch that keeps whoever connects."""

    def __init__(self, kind: type[Hub] = Hub) -> None:
        self.guests: queue.Queue[tuple[str, Packet, Channel]] = queue.Queue()
        self.switch = kind(lambda role, hello, channel: self.guests.put((role, hello, channel)))

    def close(self) -> bool:
        """Close the switch and all who connected; tell whether the switch managed it in time."""
        closing = threading.Thread(target=self.switch.close, daemon=True)
        closing.start()
        closing.join(SECONDS)
        alone = not closing.is_alive()
        while not self.guests.empty():
            self.guests.get()[2].close()
        return alone


@pytest.fixture
def server() -> Iterator[Server]:
    """A switch, closed in the end with all who connected."""
    server = Server()
    yield server
    server.close()


def join(server: Server, role: str = "engine") -> tuple[Channel, Channel]:
    """Connect; return the guest's end and the server's."""
    channel = connect(server.switch.address, server.switch.key)
    channel.send({"role": role, "token": "t"})
    found, hello, other = server.guests.get(timeout=SECONDS)
    assert (found, hello["token"]) == (role, "t")
    return channel, other


MESSAGES: list[Packet] = [
    {},
    {"text": "Zürich 東京 \U0001f389"},
    {"text": "lone \ud800 surrogate and \x00"},
    {"numbers": [1, -2.5, 1e-300, 2**70], "nothing": None, "yes": True},
    {"long": "x" * 3_000_000},
]


@pytest.mark.parametrize("message", MESSAGES, ids=["empty", "text", "odd-text", "numbers", "long"])
def test_a_message_arrives_as_it_was_sent_in_both_directions(message: Packet, server: Server) -> None:
    guest, host = join(server)
    for sender, receiver in ((guest, host), (host, guest)):
        if "long" in message:
            # Longer than the buffer of a socket: somebody must read meanwhile.
            thread = threading.Thread(target=sender.send, args=(message,))
            thread.start()
            assert receiver.receive() == message
            thread.join(SECONDS)
        else:
            sender.send(message)
            assert receiver.receive() == message
    guest.close()
    host.close()


def test_messages_keep_their_order(server: Server) -> None:
    guest, host = join(server)
    for number in range(100):
        guest.send({"n": number})
    assert [host.receive() for _ in range(100)] == [{"n": number} for number in range(100)]
    guest.close()
    host.close()


def test_who_is_gone_is_noticed(server: Server) -> None:
    guest, host = join(server)
    guest.close()
    assert host.receive() is None
    with pytest.raises(ConnectionError):
        host.send({})
    host.close()


def test_closing_twice_does_no_harm(server: Server) -> None:
    guest, host = join(server)
    for channel in (guest, guest, host, host):
        channel.close()


def test_a_stranger_with_a_wrong_key_gets_nothing_and_disturbs_nobody(server: Server) -> None:
    with pytest.raises(AuthenticationError):
        connect(server.switch.address, "00" * 32)
    guest, host = join(server)
    assert server.guests.empty()
    guest.close()
    host.close()


@pytest.mark.skipif(sys.platform == "win32", reason="sockets have no path on Windows")
def test_a_stranger_who_breaks_off_disturbs_nobody(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(server.switch.address)
    guest, host = join(server)
    guest.close()
    host.close()


@pytest.mark.skipif(sys.platform == "win32", reason="sockets have no path on Windows")
def test_a_stranger_who_never_answers_keeps_nobody_waiting(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(server.switch.address)
        guest, host = join(server)
    guest.close()
    host.close()


def test_whoever_connects_says_in_which_role(server: Server) -> None:
    for role in ("engine", "worker"):
        channel = connect(server.switch.address, server.switch.key)
        channel.send({"role": role, "token": "t"})
        found, hello, other = server.guests.get(timeout=SECONDS)
        assert (found, hello) == (role, {"role": role, "token": "t"})
        channel.close()
        other.close()


def test_every_switch_has_a_key_of_its_own(server: Server) -> None:
    other = Server()
    assert other.switch.key != server.switch.key
    assert len(bytes.fromhex(other.switch.key)) == 32
    other.close()


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes have no folder")
def test_only_the_user_may_enter_the_sockets_folder(server: Server) -> None:
    folder = Path(server.switch.address).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == os.getuid()


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes have no folder")
def test_a_closed_switch_leaves_nothing_behind() -> None:
    server = Server()
    folder = Path(server.switch.address).parent
    server.close()
    assert not folder.exists()
    with pytest.raises(FileNotFoundError):
        connect(server.switch.address, server.switch.key)


class Busy(Hub):
    """A switch that does not listen at the moment in which it is closed."""

    def _accept(self) -> None:
        time.sleep(0.2)
        super()._accept()


def test_a_switch_that_does_not_listen_yet_can_be_closed() -> None:
    assert Server(Busy).close()


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes have no folder")
def test_a_temporary_folder_far_from_the_root_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = tmp_path / ("long" * 25)
    far.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(far))
    server = Server()
    guest, host = join(server)
    guest.close()
    host.close()
    folder = Path(server.switch.address).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert server.close()
    assert not folder.exists()
    assert list(far.iterdir()) == []


# -- somebody who does not read


def test_who_does_not_read_keeps_no_one_waiting_and_is_cut_off(server: Server) -> None:
    (lazy, to_lazy), (other, to_other) = join(server), join(server)
    impatient, patient = UnhurriedChannel(to_lazy, patience=0.3), UnhurriedChannel(to_other)
    end, cut = time.monotonic() + SECONDS, False
    while not cut and time.monotonic() < end:
        try:
            impatient.send({"text": "x" * 100_000})
        except OSError:
            cut = True
        patient.send({"text": "y"})
        assert other.receive() == {"text": "y"}
    assert cut
    assert impatient.receive() is None, "the thread that listens to it hears of its end"
    assert lazy.receive() is not None, "what had arrived can be read"
    for each in (impatient, patient):
        each.close()
    assert other.receive() is None


def test_too_much_that_waits_cuts_a_connection_at_once(server: Server) -> None:
    _, host = join(server)
    channel = UnhurriedChannel(host, most_bytes=3_000_000)
    with pytest.raises(BrokenPipeError):  # noqa: PT012 - which of them is too much depends on the buffers
        for _ in range(100):
            channel.send({"text": "x" * 100_000})
    with pytest.raises(BrokenPipeError):
        channel.send({})
    channel.close()
