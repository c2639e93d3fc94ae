"""Options, configuration file and environment -> one checked value.

Everything is read and validated at the start, so that a typo costs a second and no model.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.embedded import EMBEDDED
from pytest_evals.engines.kinds import engine_names
from pytest_evals.engines.prices import Prices, parse_prices
from pytest_evals.engines.spec import moved_spec, parse_spec
from pytest_evals.errors import EvalsError, ModelError, did_you_mean
from pytest_evals.fixtures.limits import CallLimits
from pytest_evals.gates import Gate, parse_gate
from pytest_evals.media.sources import Fetch
from pytest_evals.options import KEYS, LEAST_SUMMARY, is_ci, read_time_limit, warm_seconds, written_number
from pytest_evals.reuse_options import Reuse, read_reuse
from pytest_evals.templates.expressions import check_condition

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
ANNOTATIONS = ("auto", "on", "off")
INCONCLUSIVE = ("warn", "pass", "fail")
RECORDED_CHOICES = ("allow", "refuse")
CODE_SANDBOXES = ("auto", "bubblewrap", "landlock", "seccomp", "none", "docker", "podman")
DTYPES = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for. ``models`` came from the command line, ``default_models`` from the configuration file."""

    root: Path
    models: tuple[str, ...]
    default_models: tuple[str, ...]
    aliases: dict[str, str]
    prices: Prices
    gates: tuple[Gate, ...]
    artifact: Path | None
    artifact_url: str | None
    html: Path | None
    summary: Path | None
    summary_size: int
    """Characters of the summary, which is then a message for a chat; 0 means all of it."""
    codequality: Path | None
    folder: Path
    limit: int | None
    where: str | None
    repeat: int | None
    seed: int
    device: str
    dtype: str
    batch: str
    strict_cases: bool
    annotations: str
    refuse_recorded: bool
    grader_timeout: float
    stall_timeout: float
    load_timeout: float
    warm: float
    warm_refused: bool
    exact: bool
    audit: int
    reuse: Reuse
    stop_early: bool
    time_limit: float
    """Seconds after which no model is asked any more; 0 means no limit."""
    fetches: bool
    run_code: bool
    code_sandbox: str
    code_image: str
    judge: str | None
    limits: CallLimits
    baseline: str | None
    inconclusive: str

    @property
    def judge_name(self) -> str:
        """The model that judges: the one that was named, or the embedded default."""
        return self.judge or EMBEDDED

    @property
    def fetch(self) -> Fetch | None:
        """What brings images and audio from addresses of the web; `None` where that is not allowed."""
        if not self.fetches:
            return None
        from pytest_evals.media.fetching import fetcher

        return fetcher(self.folder / "fetched")

    @property
    def engine_options(self) -> dict[str, Any]:
        """What every engine is told."""
        return {"device": self.device, "dtype": self.dtype, "batch": self.batch, "exact": self.exact}

    @property
    def run_options(self) -> dict[str, Any]:
        """What an artifact says of how its run was made."""
        return {
            **self.engine_options,
            "limit": self.limit,
            **({"where": self.where} if self.where is not None else {}),
            "repeat": self.repeat,
            "stop_early": self.stop_early,
            **({"time_limit": self.time_limit} if self.time_limit else {}),
            **({"code_sandbox": self.code_sandbox} if self.run_code else {}),
            **self.reuse.to_options(),
        }


def read_settings(config: pytest.Config) -> Settings:
    """Return the checked settings. Raises `pytest.UsageError` in one line that names the option."""
    _check_keys(config)
    root = config.rootpath
    here = config.invocation_params.dir
    aliases = _aliases(config)
    written = config.getoption("evals_artifact")
    url = written if written and _URL.match(written) else None
    artifact = None if url else _path(here, "--evals-artifact", written)
    folder = root / config.getini("evals_dir")
    return Settings(
        root=root,
        models=_models("--evals-model", config.getoption("evals_model") or [], here, root, aliases),
        default_models=_models("evals_models", config.getini("evals_models"), root, root, aliases),
        aliases=aliases,
        prices=_prices(config, aliases),
        gates=(
            *_gates("evals_gates", config.getini("evals_gates")),
            *_gates("--evals-gate", config.getoption("evals_gate") or []),
        ),
        artifact=artifact,
        artifact_url=url,
        html=_path(here, "--evals-html", config.getoption("evals_html")),
        summary=_path(here, "--evals-summary", config.getoption("evals_summary")),
        summary_size=_summary_size(config),
        codequality=_path(here, "--evals-codequality", config.getoption("evals_codequality")),
        folder=folder,
        limit=_whole("--evals-limit", config.getoption("evals_limit"), least=1),
        where=_where(config.getoption("evals_where")),
        repeat=_whole("--evals-repeat", config.getoption("evals_repeat"), least=1),
        seed=_whole("--evals-seed", config.getoption("evals_seed"), least=0) or 0,
        device=_device(config.getoption("evals_device") or "auto"),
        dtype=_one_of("--evals-dtype", config.getoption("evals_dtype") or "auto", DTYPES),
        batch=_batch(config.getoption("evals_batch") or "auto"),
        strict_cases=bool(config.getini("evals_strict_cases")),
        annotations=_one_of("evals_annotations", config.getini("evals_annotations"), ANNOTATIONS),
        refuse_recorded=_one_of("evals_recorded", config.getini("evals_recorded"), RECORDED_CHOICES) == "refuse",
        grader_timeout=_seconds(config, "evals_grader_timeout"),
        stall_timeout=_seconds(config, "evals_stall_timeout"),
        load_timeout=_seconds(config, "evals_load_timeout"),
        warm=0.0 if is_ci(os.environ) else warm_seconds(config),
        warm_refused=is_ci(os.environ) and warm_seconds(config) > 0,
        exact=_exact(config),
        audit=_whole("--evals-audit", config.getoption("evals_audit"), least=1) or 0,
        run_code=bool(config.getoption("evals_run_code") or config.getini("evals_run_code")),
        code_sandbox=_code_sandbox(config),
        code_image=config.getini("evals_code_image").strip(),
        judge=_judge(config, here, root, aliases),
        limits=CallLimits(
            calls=_whole("evals_case_calls", written_number(config, "evals_case_calls"), least=0) or 0,
            tokens=_whole("evals_case_tokens", written_number(config, "evals_case_tokens"), least=0) or 0,
            step_seconds=_seconds(config, "evals_step_timeout"),
        ),
        baseline=_baseline(config),
        inconclusive=_one_of("evals_inconclusive", config.getini("evals_inconclusive"), INCONCLUSIVE),
        reuse=read_reuse(config, artifact, folder),
        stop_early=bool(config.getoption("evals_stop_early")),
        time_limit=read_time_limit(config),
        fetches=bool(config.getoption("evals_fetch") or config.getini("evals_fetch")),
    )


def model_text(written: str, base: Path, root: Path, aliases: dict[str, str], *, encodes: bool = False) -> str:
    """Return a model specification as the session knows it: aliases replaced, paths relative to ``root`` where they are
    inside it.

    Raises `ModelError` when it is wrong, and for an encoder unless the model ``encodes``, as those of some graders do.
    """
    text = aliases.get(written.strip(), written.strip())
    # An alias is written in the configuration file, whose paths are relative to the root.
    start = root if text != written.strip() else base
    spec = parse_spec(text, start)
    if spec.engine == "encoder" and not encodes:
        raise ModelError(
            f"model {written!r}: an encoder writes no texts; it grades those of others (graders.classifier, graders.reward)"
        )
    return moved_spec(spec.text, start, root)


def _check_keys(config: pytest.Config) -> None:
    """Refuse keys that look like ours and are none: pytest only warns of them, and the run would be another one."""
    unknown = config._get_unknown_ini_keys()  # noqa: SLF001 - pytest has no public way to the keys that were written
    ours = sorted(key for key in unknown if key.startswith("evals"))
    if ours:
        raise pytest.UsageError(
            f"the configuration has the unknown key {ours[0]!r}{did_you_mean(ours[0], KEYS)} (docs/options.md lists them)"
        )


def _aliases(config: pytest.Config) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for line in config.getini("evals_aliases"):
        name, equals, spec = (part.strip() for part in line.partition("="))
        if not equals or not name or not spec or name.partition(":")[0] in engine_names():
            raise pytest.UsageError(f"evals_aliases: {line!r} is not 'name = spec'")
        aliases[name] = spec
    return aliases


def _prices(config: pytest.Config, aliases: dict[str, str]) -> Prices:
    try:
        return parse_prices(config.getini("evals_prices"), aliases)
    except EvalsError as error:
        raise pytest.UsageError(f"evals_prices: {error}") from error


def _models(option: str, written: list[str], base: Path, root: Path, aliases: dict[str, str]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(model_text(text, base, root, aliases) for text in written))
    except EvalsError as error:
        raise pytest.UsageError(f"{option}: {error}") from error


def _judge(config: pytest.Config, here: Path, root: Path, aliases: dict[str, str]) -> str | None:
    option = config.getoption("evals_judge")
    written = config.getini("evals_judge").strip()
    if option is not None:
        return _models("--evals-judge", [option], here, root, aliases)[0]
    return _models("evals_judge", [written], root, root, aliases)[0] if written else None


def _gates(option: str, written: list[str]) -> list[Gate]:
    try:
        return [parse_gate(text) for text in written]
    except EvalsError as error:
        raise pytest.UsageError(f"{option}: {error}") from error


def _path(base: Path, option: str, written: str | None) -> Path | None:
    if written == "":
        raise pytest.UsageError(f"{option}: the path is empty")
    return None if written is None else base / Path(written).expanduser()


def _baseline(config: pytest.Config) -> str | None:
    written: str | None = config.getoption("evals_baseline")
    if written is not None and not written.strip():
        raise pytest.UsageError("--evals-baseline: the path is empty")
    if written is None:
        return config.getini("evals_baseline").strip() or None
    return None if written == "none" else written


def _whole(option: str, written: str | None, least: int) -> int | None:
    if written is None:
        return None
    try:
        number = int(written)
    except ValueError:
        raise pytest.UsageError(f"{option}: {written!r} is not a whole number") from None
    if number < least:
        raise pytest.UsageError(f"{option}: must be at least {least}, not {number}")
    return number


def _summary_size(config: pytest.Config) -> int:
    option = config.getoption("evals_summary_size")
    if option is not None:
        if config.getoption("evals_summary") is None:
            raise pytest.UsageError("--evals-summary-size: say where the summary goes: --evals-summary PATH")
        return _whole("--evals-summary-size", option, least=LEAST_SUMMARY) or 0
    written = written_number(config, "evals_summary_size")
    return _whole("evals_summary_size", written, least=LEAST_SUMMARY if written != "0" else 0) or 0


def _seconds(config: pytest.Config, key: str) -> float:
    written = written_number(config, key)
    try:
        seconds = float(written)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise pytest.UsageError(f"{key}: {written!r} is not a number of seconds (0 means no limit)")
    return seconds


def _where(written: str | None) -> str | None:
    if written is None:
        return None
    try:
        check_condition(written, "--evals-where")
    except EvalsError as error:
        raise pytest.UsageError(str(error)) from error
    return written


def _one_of(option: str, written: str, known: tuple[str, ...]) -> str:
    if written not in known:
        raise pytest.UsageError(f"{option}: {written!r} is unknown (known: {', '.join(known)})")
    return written


def _code_sandbox(config: pytest.Config) -> str:
    written = config.getoption("evals_code_sandbox")
    if written is not None:
        return _one_of("--evals-code-sandbox", written, CODE_SANDBOXES)
    return _one_of("evals_code_sandbox", config.getini("evals_code_sandbox").strip(), CODE_SANDBOXES)


def _exact(config: pytest.Config) -> bool:
    exact = bool(config.getoption("evals_exact"))
    dtype = config.getoption("evals_dtype") or "auto"
    device = config.getoption("evals_device") or "auto"
    if exact and (dtype == "fp16" or (dtype == "bf16" and not device.startswith(("auto", "cuda")))):
        raise pytest.UsageError(
            "--evals-exact computes in fp32, or on a CUDA device in bf16, so "
            f"--evals-dtype={dtype} cannot be combined with it{'' if dtype == 'fp16' else ' on ' + device}"
        )
    return exact


def _device(written: str) -> str:
    if not _DEVICE.fullmatch(written):
        raise pytest.UsageError(f"--evals-device: {written!r} is unknown (known: auto, cpu, cuda, cuda:N, mps)")
    return written


def _batch(written: str) -> str:
    if written != "auto":
        _whole("--evals-batch", written, least=1)
    return written
