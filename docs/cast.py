"""Makes the picture of a run in the README, ``docs/images/run.svg``: runs the README's own example in a terminal, and draws what it printed.

    python docs/cast.py

Needs the embedded default model (``make demo`` installs it) and rich (``make docs`` does), and a system with pseudo-terminals.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
COLUMNS, LINES = 100, 50
RUNS = 3
COMMAND = "pytest --evals"
# rich's own fetches a font from elsewhere. The widths of texts are set, so that any monospaced font fits.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>A run of pytest --evals: three cases, the score card and a gate</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
THEME = TerminalTheme(
    (24, 26, 33),
    (220, 223, 228),
    [(40, 44, 52), (240, 113, 120), (126, 201, 126), (229, 192, 123), (97, 175, 239), (198, 120, 221), (86, 182, 194), (220, 223, 228)],
    [(120, 126, 138), (255, 135, 141), (150, 220, 150), (245, 210, 145), (125, 195, 255), (215, 145, 240), (110, 205, 215), (255, 255, 255)],
)  # fmt: skip


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory(prefix="capitals-") as name:
        folder = Path(name, "capitals")
        folder.mkdir()
        write_example(folder)
        run(folder)  # converts and loads the model once, so that the picture shows an ordinary run
        # The quickest of some: other programs may keep the machine busy.
        printed = min((run(folder) for _ in range(RUNS)), key=seconds)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"\x1b[1m$ {COMMAND}\x1b[0m\n{tidied(printed, folder)}"))
    drawn = console.export_svg(title="pytest-evals", theme=THEME, code_format=FORMAT, unique_id="run")
    (ROOT / "docs/images/run.svg").write_text(re.sub(r"[ \t]+$", "", drawn, flags=re.MULTILINE), encoding="utf-8")


def write_example(folder: Path) -> None:
    """Write the files of the README."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, text in re.findall(
        r"<!-- file: (\S+) -->\n(?:<!--[^\n]*-->\n)*```\w+\n(.*?)^```", page, re.DOTALL | re.MULTILINE
    ):
        (folder / name).write_text(text, encoding="utf-8")


def run(folder: Path) -> str:
    """Run the command in a terminal, and return what it wrote there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (LINES, COLUMNS))
    environment = {
        **os.environ,
        "TERM": "xterm-256color",
        "PYTHONPATH": str(ROOT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    command = [sys.executable, "-m", *COMMAND.split(), "-p", "pytest_evals.plugin", "-p", "no:cacheprovider"]
    with subprocess.Popen(  # noqa: S603 - this interpreter
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # the other end was closed: on Linux that is the end
                break
            if not part:
                break
            written += part
    os.close(ours)
    if process.returncode:
        sys.exit(f"the example failed:\n{written.decode()}")
    return written.decode()


def seconds(printed: str) -> float:
    """Return how long a run took, as its last line says."""
    return float(re.findall(r" in (\d+\.\d+)s", printed)[-1])


def tidied(printed: str, folder: Path) -> str:
    """Return what is left to see on the terminal: of a line that was rewritten its last state, and no path of this machine."""
    lines = [line.rpartition("\r")[2].replace("\x1b[2K", "") for line in printed.replace("\r\n", "\n").split("\n")]
    return "\n".join(line.replace(str(folder), "/home/you/capitals") for line in lines).rstrip()


if __name__ == "__main__":
    main()
