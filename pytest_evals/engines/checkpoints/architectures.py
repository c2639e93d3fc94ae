"""Whether a model writes text, by the architectures that its configuration names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_evals.errors import ModelError

_PURPOSES = {
    "ForSequenceClassification": "a classifier or reward model: it gives texts a label or a score",
    "RewardModel": "a reward model: it gives texts a score",
    "ForTokenClassification": "a tagger: it gives each token a label",
    "ForQuestionAnswering": "a reader: it marks a span of a text",
    "ForMultipleChoice": "a classifier: it chooses among texts",
    "ForNextSentencePrediction": "a classifier of pairs of sentences",
    "ForMaskedLM": "an encoder: it fills in masked words",
    "ForPreTraining": "an encoder with the heads of its training",
    "ForImageClassification": "a classifier of images",
    "ForAudioClassification": "a classifier of audio",
    "ForObjectDetection": "a detector of objects in images",
    "ForSemanticSegmentation": "a model that segments images",
    "ForDepthEstimation": "a model that estimates depth",
    "ForZeroShotImageClassification": "a classifier of images",
    "ForCTC": "a speech recogniser",
    "ForSpeechSeq2Seq": "a speech recogniser",
    "ForRetrieval": "a model that embeds texts and pages",
    "ForTextEncoding": "an encoder: it turns texts into vectors",
}
"""What a model is for, by how the name of its architecture ends; none of these writes text."""
_ENCODERS = frozenset(
    {
        "albert", "bert", "camembert", "canine", "clip", "clip_text_model", "convbert", "deberta", "deberta-v2", "dinov2",
        "distilbert", "electra", "ernie", "esm", "flaubert", "funnel", "hubert", "layoutlm", "layoutlmv3", "longformer",
        "luke", "mobilebert", "modernbert", "mpnet", "nomic_bert", "nystromformer", "rembert", "roberta", "roformer",
        "siglip", "siglip2", "splinter", "squeezebert", "t5encoder", "vit", "wav2vec2", "xlm-roberta", "xlm-roberta-xl",
        "xmod", "yoso",
    }
)  # fmt: skip
"""Model types that read in both directions unless their configuration says ``is_decoder``."""
_SAVED_IN_TRAINING = frozenset({"gpt2", "xlnet", "lxmert"})
"""Types whose ``ForPreTraining`` or the like is not an encoder's."""


def check_architectures(config: Mapping[str, Any], written: str, where: str) -> None:
    """Raise `ModelError` for the configuration of a model that does not write text; ``where`` is its folder or repository."""
    names = config.get("architectures")
    listed = [str(name) for name in names] if isinstance(names, list) else []
    purposes = [purpose for name in listed if (purpose := _purpose(name, config)) is not None]
    if listed and len(purposes) == len(listed):
        raise ModelError(
            f"model {written!r}: {where} is {purposes[0]} ({', '.join(listed)} in its config.json), and does not write text; "
            "name a model for text generation"
        )


def _purpose(name: str, config: Mapping[str, Any]) -> str | None:
    """Return what an architecture is for, `None` if it may write text."""
    kind = config.get("model_type")
    if config.get("is_decoder") is True or kind in _SAVED_IN_TRAINING:
        return next((_PURPOSES[end] for end in ("ForSequenceClassification",) if name.endswith(end)), None)
    found = next((purpose for end, purpose in _PURPOSES.items() if name.endswith(end)), None)
    if found is not None:
        return found
    headless = name.endswith("Model") and not name.endswith(("LMHeadModel", "HeadsModel"))
    return "an encoder: it turns texts into vectors" if headless and kind in _ENCODERS else None
