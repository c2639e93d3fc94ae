"""The engine on Hugging Face transformers: the only place that knows torch.

``scheduler`` decides which rows form a batch and never sees a tensor; ``runner`` moves tensors and decides nothing;
``engine`` lets them work together. ``weights`` finds and loads a model, ``device`` chooses where and in which
precision, ``prompts`` makes token ids of a conversation, ``row`` follows one completion to its end.
"""
