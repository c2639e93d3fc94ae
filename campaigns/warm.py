"""Warm engines under fire: runs killed at any moment, two runs at a time, stale entries, changed versions, engines killed or stopped.

    python -m campaigns.warm [--rounds 10] [--seed 0] [--keep 3] [--parts kills,pairs,stale,versions,engine,stopped,paused,damaged]

A run is a process that asks a script some questions through a pool, as a session does, with an engine that stays. After each event another
run must get all of its own answers; when the campaign is over, no engine may be left after its time, and nothing in their folder.
Prints a table; the exit status is 1 when something was lost or left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MODEL = "scripted:echoes:answer?warm=true"
SCRIPT = """
import os, time

def answer(messages):
    time.sleep({pause})
    return f"{{messages[-1]['content']}} {{os.getpid()}}"
"""
QUESTIONS = 40
PAUSE = 0.01
PATIENCE = 120.0


def ask(folder: Path, run: str, questions: int, keep: float) -> None:
    """Ask questions as a run does, and print the answers as JSON: what a process of this campaign does."""
    from pytest_evals.engines.pool import EnginePool
    from pytest_evals.engines.protocol import Request
    from pytest_evals.generation import GenerationParams

    pool = EnginePool(folder, {"device": "cpu"}, warm=keep)
    texts = [f"{run}-{number}" for number in range(questions)]
    requests = [Request(text, MODEL, ({"role": "user", "content": text},), GenerationParams()) for text in texts]
    try:
        pool.prepare(MODEL)
        pool.submit(requests)
        found = {}
        for request in requests:
            result = pool.result(request, PATIENCE)
            found[request.id] = (
                "no answer" if result is None else result.answer.text if result.completion else str(result.error)
            )
        print(json.dumps({"answers": found, "incidents": pool.incidents}))
    finally:
        pool.close()


@dataclass
class Outcome:
    """What became of the runs of one part. ``wrong``: answers that are missing or another run's."""

    runs: int = 0
    answers: int = 0
    wrong: int = 0
    attached: int = 0
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Campaign:
    """A folder with a script, and what happens to its engines."""

    def __init__(self, folder: Path, keep: float) -> None:
        self.folder = folder
        self.keep = keep
        self.numbers = iter(range(10**6))
        self.environment = {**os.environ, "PYTEST_EVALS_CACHE": str(folder / "cache")}
        self.environment.pop("CI", None)
        os.environ["PYTEST_EVALS_CACHE"] = str(folder / "cache")
        self.write()

    def write(self, note: str = "") -> None:
        """Write the script; with another ``note`` it is another version."""
        (self.folder / "echoes.py").write_text(SCRIPT.format(pause=PAUSE) + note)

    def start(self, questions: int = QUESTIONS) -> tuple[str, subprocess.Popen[str]]:
        """Start a run; return its name, and its process."""
        run = f"run{next(self.numbers)}"
        options = [
            "--client",
            run,
            "--folder",
            str(self.folder),
            "--questions",
            str(questions),
            "--keep",
            str(self.keep),
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "campaigns.warm", *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return run, process

    def finish(
        self, started: tuple[str, subprocess.Popen[str]], outcome: Outcome, questions: int = QUESTIONS
    ) -> set[int]:
        """Wait for a run, look at its answers, and return the processes that gave them."""
        run, process = started
        begun = time.monotonic()
        try:
            said, complaint = process.communicate(timeout=2 * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            said, complaint = "", "hangs"
        outcome.runs += 1
        outcome.seconds.append(time.monotonic() - begun)
        outcome.answers += questions
        if process.returncode != 0:
            outcome.wrong += questions
            outcome.problems.append(f"{run}: {complaint.strip().splitlines()[-1:] or process.returncode}")
            return set()
        data = json.loads(said.splitlines()[-1])
        outcome.attached += any("attached to a warm engine" in line for line in data["incidents"])
        right = {key: text for key, text in data["answers"].items() if text.startswith(f"{key} ")}
        outcome.wrong += questions - len(right)
        outcome.problems += [f"{key}: {text}" for key, text in data["answers"].items() if key not in right][:3]
        return {int(text.rsplit(" ", 1)[1]) for text in right.values()}

    def run(self, outcome: Outcome) -> set[int]:
        """Let a run take place."""
        return self.finish(self.start(), outcome)

    def engines(self) -> list[int]:
        """Return the processes of the engines that can be found."""
        from pytest_evals.engines.warm_registry import entries

        return [entry.pid for entry in entries()]


def kills(campaign: Campaign, outcome: Outcome, rng: random.Random) -> None:
    """A run is killed at a random moment, from its first breath to after its end."""
    _, process = campaign.start()
    time.sleep(rng.uniform(0, 2.0))
    process.kill()
    process.wait()
    campaign.run(outcome)


def pairs(campaign: Campaign, outcome: Outcome, rng: random.Random) -> None:
    """Two runs at the same time, the second a little later."""
    first = campaign.start()
    time.sleep(rng.choice([0.0, 0.0, rng.uniform(0, 1.0)]))
    second = campaign.start()
    campaign.finish(first, outcome)
    campaign.finish(second, outcome)


def stale(campaign: Campaign, outcome: Outcome, _rng: random.Random) -> None:
    """The engine was killed while it was idle: its entry and its socket are still there."""
    campaign.run(outcome)
    for pid in campaign.engines():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    campaign.run(outcome)


def versions(campaign: Campaign, outcome: Outcome, _rng: random.Random) -> None:
    """The script changes between two runs: the second must not get the first one's engine."""
    before = campaign.run(outcome)
    campaign.write(f"# {next(campaign.numbers)}\n")
    after = campaign.run(outcome)
    if before & after:
        outcome.wrong += QUESTIONS
        outcome.problems.append("an engine of another version answered")


def engine(campaign: Campaign, outcome: Outcome, rng: random.Random) -> None:
    """The engine is killed under a run."""
    started = campaign.start()
    time.sleep(rng.uniform(0.2, 1.5))
    for pid in campaign.engines():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    campaign.finish(started, outcome)


def stopped(campaign: Campaign, outcome: Outcome, _rng: random.Random) -> None:
    """The engine is stopped, so that it neither answers nor ends: a run does without it."""
    campaign.run(outcome)
    pids = campaign.engines()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        campaign.run(outcome)
    finally:
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)


def paused(campaign: Campaign, outcome: Outcome, rng: random.Random) -> None:
    """A run is stopped while the engine answers it: another run is not kept waiting, and the first goes on where it was."""
    first = campaign.start(10 * QUESTIONS)
    time.sleep(rng.uniform(1.0, 3.0))
    first[1].send_signal(signal.SIGSTOP)
    try:
        campaign.run(outcome)
    finally:
        first[1].send_signal(signal.SIGCONT)
    campaign.finish(first, outcome, 10 * QUESTIONS)


def damaged(campaign: Campaign, outcome: Outcome, rng: random.Random) -> None:
    """The entry of an engine is damaged: a run does without it, and the next one finds an entry again."""
    campaign.run(outcome)
    for path in (campaign.folder / "cache" / "warm").glob("*.json"):
        text = path.read_bytes() or b"{}"
        path.write_bytes(
            rng.choice([b"", text[: rng.randrange(len(text))], b"\xff" * 9, text.replace(b"evals-", b"evils-")])
        )
    campaign.run(outcome)
    if not campaign.engines():
        outcome.wrong += 1
        outcome.problems.append("the damaged entry keeps its place")


PARTS: dict[str, Callable[[Campaign, Outcome, random.Random], None]] = {
    each.__name__: each for each in (kills, pairs, stale, versions, engine, stopped, paused, damaged)
}


def left_behind(folder: Path, keep: float) -> list[str]:
    """Return what is left of the campaign when all engines should have ended."""
    import psutil

    deadline = time.monotonic() + keep + 20.0
    while True:
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "environ"]):
            environment = process.info["environ"] or {}
            command = process.info["cmdline"] or []
            if (
                environment.get("PYTEST_EVALS_CACHE") == str(folder / "cache")
                and "pytest_evals.engines.warm_worker" in command
            ):
                found.append(f"process {process.pid}")
        if not found or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    # Entries that were damaged on purpose belong to no engine.
    files = [path.name for path in (folder / "cache" / "warm").iterdir() if path.suffix != ".json"]
    return [*found, *files]


def main() -> int:
    """Run the campaign; return 1 when something was lost or left."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=float, default=3.0)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--questions", type=int, default=QUESTIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        ask(arguments.folder, arguments.client, arguments.questions, arguments.keep)
        return 0
    rng, bad = random.Random(arguments.seed), False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        campaign = Campaign(folder, arguments.keep)
        print(
            "| part | rounds | runs | answers | wrong or lost | runs attached | slowest run |\n| --- | --- | --- | --- | --- | --- | --- |"
        )
        for part in arguments.parts.split(","):
            outcome = Outcome()
            for _ in range(arguments.rounds):
                PARTS[part](campaign, outcome, rng)
            slowest = max(outcome.seconds, default=0.0)
            print(
                f"| {part} | {arguments.rounds} | {outcome.runs} | {outcome.answers} | {outcome.wrong} | {outcome.attached} | {slowest:.1f} s |",
                flush=True,
            )
            for problem in outcome.problems:
                print(f"  {problem}", flush=True)
            bad = bad or bool(outcome.wrong)
        left = left_behind(folder, arguments.keep)
        print(f"left behind after {arguments.keep:g} s: {', '.join(left) or 'nothing'}")
    return int(bad or bool(left))


if __name__ == "__main__":
    sys.exit(main())
