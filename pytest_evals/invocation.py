"""What the command line says about evals, before pytest made anything of it.

pytest chooses its root folder and its configuration file by the paths on the command line, at a moment when it does not
know the options of plugins yet: of ``--evals-artifact ../out/run.jsonl`` it takes the path for tests to run, and may lose the
configuration file of the project, with its gates. ``--evals-artifact=../out/run.jsonl`` cannot be mistaken.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.config.findpaths import determine_setup

from pytest_evals.errors import did_you_mean
from pytest_evals.options import NAMES, TAKES_VALUE, is_ours


@dataclass(frozen=True, slots=True)
class WrittenOption:
    """One of our options as it was written. ``apart`` is its value where a space precedes it."""

    name: str
    apart: str | None = None


def command_line(config: pytest.Config) -> list[str]:
    """Return what is on the command line and in ``PYTEST_ADDOPTS``, with the content of files of arguments (``@FILE``).

    What ``addopts`` of the configuration file brings is not in it: it is there in every run, and no wish of this one.
    """
    written = (*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *config.invocation_params.args)
    return list(opened(map(str, written)))


def opened(words: Iterable[str]) -> Iterator[str]:
    """Yield the words of a command line, and those of a file (``@FILE``) in the place of its name, as argparse reads it: one on a line."""
    for word in words:
        file = Path(word[1:]) if word[:1] == "@" and len(word) > 1 else None
        if file is not None and file.is_file():
            yield from opened(file.read_text(encoding="utf-8").splitlines())
        else:
            yield word


def check_switch(config: pytest.Config) -> None:
    """Raise `pytest.UsageError` for ``--evals=VALUE``: argparse would only say that it ignored an explicit argument."""
    word = next((word for word in command_line(config) if word.startswith("--evals=")), None)
    if word is None:
        return
    value = word.partition("=")[2]
    switch = f"{word}: --evals is a switch without a value"
    if value.strip().lower() in ("", "1", "true", "yes", "on"):
        raise pytest.UsageError(f"{switch}; write --evals")
    if value.strip().lower() in ("0", "false", "no", "off"):
        raise pytest.UsageError(
            f"{switch}; leave it out (where the configuration file switches evals on, PYTEST_EVALS=0)"
        )
    raise pytest.UsageError(f"{switch}; put a space before the path: {shlex.join(['pytest', '--evals', value])}")


def written_options(words: Sequence[str]) -> list[WrittenOption]:
    """Return our options among the words of a command line, ``--evals`` itself left out."""
    found = []
    for index, word in enumerate(words):
        if word == "--":
            break
        name, equals, _ = word.partition("=")
        if is_ours(name):
            apart = None if equals or name not in TAKES_VALUE else next(iter(words[index + 1 : index + 2]), None)
            found.append(WrittenOption(name, apart))
    return found


def check_names(config: pytest.Config) -> None:
    """Raise `pytest.UsageError` for what looks like an option of ours and is none: pytest would only call it unrecognized."""
    for word in command_line(config):
        if word == "--":
            break
        name = word.partition("=")[0]
        if name.lower().startswith(("--eval", "-eval")) and name not in NAMES:
            hint = did_you_mean(f"--{name.lower().lstrip('-')}", NAMES)
            raise pytest.UsageError(f"there is no option {name}{hint} (docs/options.md lists them)")


def check_root(config: pytest.Config, parser: pytest.Parser) -> None:
    """Raise `pytest.UsageError` where the value of one of our options made pytest choose another root folder or another
    configuration file than it would have chosen otherwise.
    """
    words = command_line(config)
    options = [option for option in written_options(words) if option.apart is not None]
    asked = config.known_args_namespace
    if not options or asked.help or asked.version:
        return
    known, unknown = parser.parse_known_and_unknown_args(words)
    tests = [*known.file_or_dir, *unknown]

    def chosen(arguments: Sequence[str]) -> tuple[Path, Path | None]:
        root, file, *_ = determine_setup(
            inifile=known.inifilename,
            override_ini=known.override_ini,
            args=arguments,
            rootdir_cmd_arg=known.rootdir or None,
            invocation_dir=config.invocation_params.dir,
        )
        return root, file

    meant, used = chosen(tests), (config.rootpath, config.inipath)
    # The option that does it alone, else all of them together.
    guilty = next((option for option in options if chosen([*tests, str(option.apart)]) != meant), options[0])
    if used == meant or chosen([*tests, *(str(option.apart) for option in options)]) == meant:
        return
    raise pytest.UsageError(
        f"{guilty.name} {guilty.apart}: pytest takes a path after a space for tests to run, and chose {_shown(*used)} because of "
        f"it, not {_shown(*meant)}; write {guilty.name}={guilty.apart}"
    )


def _shown(root: Path, file: Path | None) -> str:
    return f"the root folder {root} with {file.name if file else 'no configuration file'}"


def check_switched_on(config: pytest.Config, why_off: str) -> None:
    """Raise `pytest.UsageError` for an option of a run with evals where they are off. ``why_off`` says what switched them
    off, where something did.
    """
    written = written_options(command_line(config))
    if written:
        because = f", and {why_off} switches evals off" if why_off else ", and evals are off"
        raise pytest.UsageError(
            f"{written[0].name} is given{because}: add --evals to run them (or leave the option out); "
            "'evals = true' in the configuration file or PYTEST_EVALS=1 do the same"
        )
