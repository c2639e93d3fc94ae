"""``pytest-evals annotate``: people answer the questions of a recorded run, on a page that this machine serves."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_evals.cli.common import Subparsers, add_run, say, subcommand, whole
from pytest_evals.text import pluralize

if TYPE_CHECKING:
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.review.answers import AnswerBook
    from pytest_evals.review.reviewer import ReviewSession

DETAILS = """\
Asks what the suite's graders.human(...) ask. Answers are kept in RUN.answers.jsonl as they are given; several people may
answer at the same time, each with their own --reviewer. The page is served to this machine only, to who has the link.
Ctrl-C ends it.

Then: pytest --evals --evals-replay RUN

examples:
  pytest-evals annotate run.jsonl --reviewer ana
  pytest-evals annotate run.jsonl --queue tone --port 8765
"""


_LARGEST_SHOWN = 1 << 20
"""Bytes that an image or a recording may take in the page."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(subparsers, "annotate", run, "have people answer the questions of a run", DETAILS)
    add_run(parser)
    parser.add_argument("--queue", metavar="NAME", help="only the questions of this queue")
    parser.add_argument("--reviewer", metavar="NAME", help="who answers (default: the name of your account)")
    parser.add_argument(
        "--port", metavar="N", type=whole(0, 65535), default=0, help="port of this machine (default: a free one)"
    )
    parser.add_argument("--partial", action="store_true", help="also ask about a run that did not come to its end")


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.cli.common import find_run
    from pytest_evals.errors import ArtifactError
    from pytest_evals.reuse.command import RunCommand
    from pytest_evals.review.server import AnnotationServer

    path = find_run(arguments.run_name)
    if not isinstance(path, Path):
        raise ArtifactError("answers go beside the artifact: give its path, not the standard input")
    artifact = ArtifactReader(path)
    desk, book = make_desk(
        artifact, path, arguments.queue, reviewer_name(arguments.reviewer), partial=arguments.partial
    )
    server = AnnotationServer(desk, artifact.run, arguments.port)
    done, asked = desk.counts()
    say(
        [
            f"{pluralize(asked, 'question')} about {pluralize(len(desk.cases), 'case')}, {done} answered by {desk.reviewer}",
            f"open {server.link}",
            "Ctrl-C ends",
        ]
    )
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    done, asked = desk.counts()
    lines = [
        f"{done} of {asked} questions answered by {desk.reviewer}, kept in {book.path}",
        *desk.agreement(),
    ]
    command = RunCommand.of_run(artifact.run, path)
    say(["", *lines, *([f"grade with them: {command.replay()}"] if command else [])])
    return 0


def reviewer_name(written: str | None) -> str:
    """Return who answers. Raises `ArtifactError` for a name that would not fit on a line."""
    from pytest_evals.errors import ArtifactError

    try:
        name = (getpass.getuser() if written is None else written).strip()
    except (OSError, KeyError, ImportError):
        name = ""
    if not name or len(name) > 80 or not name.isprintable():
        raise ArtifactError(f"--reviewer: {name!r:.100} is not a name; give one of up to 80 letters")
    return name


def make_desk(
    artifact: ArtifactReader, path: Path, queue: str | None, reviewer: str, *, partial: bool
) -> tuple[ReviewSession, AnswerBook]:
    """Return the cases to be asked with the book of answers. Raises `ArtifactError` when there is nothing to ask, or
    when what is answered could not be kept or would not count.
    """
    from pytest_evals.errors import ArtifactError
    from pytest_evals.media.sources import MOST_BYTES
    from pytest_evals.reports.html.media import PageMedia, folders_of
    from pytest_evals.review.answers import AnswerBook, answers_path
    from pytest_evals.review.cases import outdated, queues, review_cases
    from pytest_evals.review.reviewer import ReviewSession

    if not artifact.complete and not partial:
        raise ArtifactError(
            f"{path}: the run did not come to its end, so its gates are never judged; finish it (--evals-resume), or ask anyway with --partial"
        )
    known = queues(artifact.samples())
    if not known:
        raise ArtifactError(f"{path}: no case has a question for people; a suite asks with graders.human(...)")
    if queue is not None and queue not in known:
        raise ArtifactError(
            f"{path}: there is no queue {queue!r} (queues: {', '.join(f'{name} ({count})' for name, count in known.items())})"
        )
    book = AnswerBook(answers_path(path), str(artifact.run["run_id"]))
    book.check_writable()
    # The page comes from a server, which gives no files: all of them are inside.
    media = PageMedia(folders_of(path), largest_file=MOST_BYTES, largest_shown=_LARGEST_SHOWN)
    cases = list(review_cases(artifact.samples(), queue, media))
    every = cases if queue is None else list(review_cases(artifact.samples()))
    stale = outdated(every, book.all())
    if stale:
        raise ArtifactError(
            f"{book.path}: {len(stale)} answers are to questions that this run asks otherwise ({stale[0].grader!r} about {stale[0].sample}); "
            "the suite changed since: move the file away to start anew"
        )
    return ReviewSession(cases, book, reviewer), book
