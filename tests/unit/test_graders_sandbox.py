"""Filters, command lines and values that travel: what confines programs, without a process."""

from __future__ import annotations

import collections
import re
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.graders.code import levels
from pytest_evals.graders.code.levels import Sandbox, SandboxError, bubblewrap_command, container_command, find_sandbox
from pytest_evals.graders.code.sandbox import instructions
from pytest_evals.graders.code.syscalls import CHECKED, FILES, REFUSED
from pytest_evals.graders.code.unpacking import Unpacker
from pytest_evals.graders.code.wire import Packer, WireError

LIMITS = {"memory": 1 << 30, "file_size": 1 << 24, "seconds": 12}
HEADERS = (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h"))


@pytest.mark.skipif(not all(map(Path.exists, HEADERS)), reason="the C library's headers are not installed")
def test_numbers_of_system_calls_are_those_of_the_systems_headers() -> None:
    patterns = (r"#define __NR_(\w+) (\d+)", r"#define __NR(?:3264)?_(\w+) (\d+)")
    for column, (header, pattern) in enumerate(zip(HEADERS, patterns, strict=True)):
        known = {name: int(number) for name, number in re.findall(pattern, header.read_text(encoding="utf-8"))}
        for name, numbers in {**REFUSED, **FILES, **CHECKED}.items():
            assert numbers[column] == known.get(name, numbers[column]), name


def verdict(code: list[bytes], number: int, *arguments: int, architecture: int = 0xC000003E) -> int:
    """Return what the kernel would do: interpret a filter as it does."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    place, held = 0, 0
    while True:
        kind, yes, no, value = struct.unpack("=HBBI", code[place])
        place += 1
        if kind == 0x06:
            return int(value)
        if kind == 0x20:
            held = struct.unpack_from("=I", data, value)[0]
        elif kind == 0x54:
            held &= value
        else:
            place += yes if {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[kind] else no


ALLOWED, REFUSED_WITH = 0x7FFF0000, 0x00050001


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_refuses_what_reaches_out_and_allows_the_rest(machine: str) -> None:
    column = ("x86_64", "aarch64").index(machine)
    architecture = (0xC000003E, 0xC00000B7)[column]
    tight = instructions(machine, 42, own_files=False)
    own = instructions(machine, 42, own_files=True)

    def said(code: list[bytes], name: str, *arguments: int) -> int:
        number = CHECKED[name][column]
        assert number is not None
        return verdict(code, number, *arguments, architecture=architecture)

    for code in (tight, own):
        for name, numbers in REFUSED.items():
            number = numbers[column]
            assert number is None or verdict(code, number, architecture=architecture) == REFUSED_WITH, name
        assert said(code, "kill", 42, 9) == said(code, "tgkill", 42, 43, 9) == ALLOWED
        assert {said(code, "kill", other, 9) for other in (41, 0, 0xFFFFFFFF)} == {REFUSED_WITH}
        assert said(code, "tgkill", 1, 1, 9) == REFUSED_WITH
        assert said(code, "clone", 0x10000) == ALLOWED
        assert said(code, "clone", 17) == REFUSED_WITH
        assert said(code, "clone3") == 0x00050026
        assert said(code, "fcntl", 3, 4, 0) == said(code, "ioctl", 3, 0x5413) == ALLOWED
        assert {said(code, "fcntl", 3, command) for command in (8, 15, 10)} == {REFUSED_WITH}
        assert said(code, "ioctl", 3, 0x8901) == REFUSED_WITH
        assert said(code, "prlimit64", 0, 7, 0, 1 << 40) == ALLOWED
        assert said(code, "prlimit64", 0, 7, 1 << 40) == said(code, "prlimit64", 0, 7, 8) == REFUSED_WITH
        assert verdict(code, 1, architecture=0x40000003) == REFUSED_WITH
        assert verdict(code, 0x40000001, architecture=architecture) == REFUSED_WITH
    for numbers in FILES.values():
        number = numbers[column]
        if number is not None:
            assert verdict(tight, number, architecture=architecture) == REFUSED_WITH
            assert verdict(own, number, architecture=architecture) == ALLOWED
    assert said(tight, "openat", 0, 0, 0x200) == REFUSED_WITH
    assert said(tight, "openat", 0, 0, 0x201) == said(own, "openat", 0, 0, 0x200) == ALLOWED


def test_bubblewrap_shows_python_and_nothing_of_the_user() -> None:
    command = bubblewrap_command(LIMITS, packages=False)
    bound = [command[place + 1] for place, part in enumerate(command) if part == "--ro-bind-try"]
    mine = [path for path in bound if Path.home() in Path(path).parents and not path.startswith(sys.base_prefix)]
    assert mine == []
    assert "/" not in bound
    assert "--bind" not in command
    for part in ("--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop"):
        assert part in command
    assert command[command.index("--size") + 1] == str(4 << 24)


def test_a_container_has_no_network_no_privileges_and_no_files_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "123")
    command = container_command("docker", "python:3-slim", "evals-1", LIMITS, packages=False)
    line = " ".join(command)
    for policy in (
        "run --rm --interactive",
        "--name evals-1",
        "--pull never",
        "--network none",
        "--read-only",
        "--tmpfs /tmp:rw,nosuid,nodev,noexec,size=67108864",
        "--user 65534:65534",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--ipc none",
        "--pids-limit 64",
        "--memory 1073741824 --memory-swap 1073741824",
        "--entrypoint python3 python:3-slim",
    ):
        assert policy in line
    for word in ("SECRET_KEY", "--volume", "-v", "--mount", "--privileged"):
        assert word not in command


def test_auto_takes_the_strongest_level_there_is_and_says_why_not_a_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    working = {"seccomp", "none"}
    monkeypatch.setattr(levels, "probe", lambda sandbox: "" if sandbox.level in working else "it is not here")
    find_sandbox.cache_clear()
    try:
        found = find_sandbox("auto")
        assert (found.level, found.note) == ("seccomp", "no bubblewrap: it is not here; no landlock: it is not here")
        assert found.title == "seccomp (evals_code_sandbox = auto)"
        with pytest.raises(SandboxError, match="evals_code_sandbox = landlock does not work here: it is not here"):
            find_sandbox("landlock")
        working.clear()
        find_sandbox.cache_clear()
        with pytest.raises(SandboxError, match="Python cannot be started"):
            find_sandbox("auto")
    finally:
        find_sandbox.cache_clear()


def test_what_a_level_needs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_evals.graders.code.levels.shutil.which", lambda _name: None)
    monkeypatch.setattr(levels, "landlock_version", lambda: 0)
    monkeypatch.setattr("pytest_evals.graders.code.levels.sys.platform", "linux")
    assert (
        levels.probe(Sandbox("bubblewrap")) == "the program bwrap is not installed (Debian's package is 'bubblewrap')"
    )
    assert levels.probe(Sandbox("landlock")).startswith("the kernel has no Landlock")
    assert levels.probe(Sandbox("podman", image="x")) == "the program podman is not installed"
    monkeypatch.setattr("pytest_evals.graders.code.levels.sys.platform", "darwin")
    assert levels.probe(Sandbox("seccomp")) == "it is part of Linux"


class Home:
    """A process that has no objects to give away."""

    packages = False

    def __init__(self) -> None:
        self.shared: dict[str, type] = {}

    def export(self, value: Any) -> Any:
        raise TypeError(f"{type(value).__name__} stays here")

    def resolve(self, packed: list[Any], unpacker: Unpacker) -> Any:
        raise WireError(f"{packed} is not known here, by {unpacker}")


def travelled(value: Any) -> Any:
    home = Home()
    packer = Packer(home)
    packed = packer.pack(value)
    return Unpacker(home, packer.finish()).unpack(packed)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**53,
        -(10**5000),
        1.5,
        float("inf"),
        1 + 2j,
        "\ud800 text \0",
        b"\xff\0",
        [1, [2, (3, {4: {5}})]],
        frozenset({(1, 2)}),
        bytearray(b"ab"),
        range(3, 9, 2),
        slice(1, None),
        ...,
        collections.deque([1, 2], maxlen=3),
        collections.Counter("aab"),
        collections.defaultdict(list, {1: [2]}),
        collections.OrderedDict(b=1, a=2),
        {1: 2}.keys(),
        int,
        len,
        ValueError,
        re.compile("a", re.IGNORECASE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_data_comes_as_it_went(value: Any) -> None:
    came = travelled(value)
    assert came == value
    assert type(came) is type(value)


def test_what_is_shared_or_contains_itself_comes_so() -> None:
    inner: list[Any] = [1]
    came = travelled([inner, inner])
    assert came[0] is came[1]
    inner.append(inner)
    came = travelled(inner)
    assert came[1] is came
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    came = travelled(deep)
    for _ in range(50_000):
        (came,) = came
    assert came == []


def test_what_is_derived_from_plain_data_comes_as_plain_data() -> None:
    class Liar(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    class Words(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    assert type(travelled(Liar(3))) is int
    assert travelled(Liar(3)) != 4
    assert type(travelled([Words("a")])[0]) is str


@pytest.mark.parametrize(
    ("packed", "heap"),
    [
        (["r", 0], []),
        (["r", -1], [["l"]]),
        (["r", True], [["l"], ["l"]]),
        (["r", 0], [["t", ["r", 0]]]),
        (["r", 0], [["d", 1]]),
        (["r", 0], [["o", "Missing"]]),
        (["r", 0], [["e", ["g", "builtins", "int"], "", []]]),
        (["g", "builtins", "eval"], []),
        (["g", "builtins", "__import__"], []),
        (["g", "os", "system"], []),
        (["g", "unittest.mock", "ANY"], []),
        (["np", "<i8", None, ""], []),
        (["m", 1, "o", "X", []], []),
        ([], []),
        ({}, []),
        (1, [[]]),
        (1, {}),
    ],
)
def test_what_has_no_meaning_is_refused(packed: Any, heap: Any) -> None:
    with pytest.raises(WireError):
        Unpacker(Home(), heap).unpack(packed)
