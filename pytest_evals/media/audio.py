"""Is this a recording that models can be given? libsndfile tells, through soundfile."""

from __future__ import annotations

import io
from typing import Any

from pytest_evals.errors import DatasetError
from pytest_evals.media.kinds import mime_of, what_it_is

MOST_SECONDS = 3600
INSTALL = "reading audio needs soundfile: pip install 'pytest-evals-hf[audio]'"
_BLOCK = 1 << 16
_MIMES = {
    "WAV": "audio/wav",
    "WAVEX": "audio/wav",
    "RF64": "audio/wav",
    "FLAC": "audio/flac",
    "OGG": "audio/ogg",
    "MP3": "audio/mpeg",
}


def check_audio(content: bytes, where: str) -> dict[str, Any]:
    """Return ``mime``, ``seconds`` and ``sampling_rate`` (a second) of a recording, after reading it once.

    Raises `DatasetError` with ``where`` for what is not audio, is damaged, is empty or is too long.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the library of the system is not there
        raise DatasetError(f"{where}: {INSTALL}") from error
    try:
        file = soundfile.SoundFile(io.BytesIO(content))
    except Exception as error:  # the library raises its own errors, whose base is not the same in all versions
        raise DatasetError(_no_audio(content, where)) from error
    with file:
        rate, mime = file.samplerate, _MIMES.get(file.format) or mime_of(content) or "audio/wav"
        if file.frames > MOST_SECONDS * rate:
            raise DatasetError(
                f"{where} is {file.frames / rate / 60:,.0f} minutes long, more than the {MOST_SECONDS // 60} that are read; cut it"
            )
        try:
            frames = sum(len(block) for block in file.blocks(_BLOCK, dtype="float32"))
        except Exception as error:  # decoders of damaged files raise errors of many kinds
            raise DatasetError(f"{where} cannot be decoded as {mime}: {error}") from error
    if not frames:
        raise DatasetError(f"{where} is {mime}, and holds no sound")
    return {"mime": mime, "seconds": round(frames / rate, 3), "sampling_rate": rate}


def encoded(samples: Any, rate: int, where: str) -> bytes:
    """Return samples, ``[frames]`` or ``[frames, channels]`` from -1 to 1, as a file of WAV that loses nothing of them."""
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise DatasetError(f"{where}: {INSTALL}") from error
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def _no_audio(content: bytes, where: str) -> str:
    mime = mime_of(content)
    if mime in ("audio/mp4", "video/mp4", "video/webm", "video/quicktime"):
        return f"{where} is {mime}, which is not read here; convert it to WAV, FLAC, OGG or MP3"
    if mime is not None and mime.startswith("audio/"):
        return f"{where} begins like {mime}, and is damaged"
    return f"{where} is not audio: it is {what_it_is(content, mime)}; audio is WAV, FLAC, OGG or MP3"
