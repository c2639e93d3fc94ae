"""The engine on Hugging Face transformers: the only place that knows torch.

How a request becomes a text: `encoding` makes token ids of its conversation and a `sequence` of these. A backend
(`backends`, chosen by `selection` when the model is loaded) takes sequences. In the packed one, `scheduling` decides what the next
forward computes, without a tensor; `packed` carries it out on one row of tokens, whose keys and values are in slots;
`sampler` chooses the next tokens. A sequence that has ended leaves, and `engine` makes a result of it.

* ``scheduling``: which sequences form the next batch, and which prefixes are kept; policy without tensors.
* ``packed``: the forward pass over the tokens of all sequences, its attention and its KV cache.
* ``backends``: packed, transformers' ``generate``, and one sequence at a time as reference.
* ``cuda``: decoding as CUDA graphs.
* ``cpu``: faster linear layers, norms and attention for a CPU.

`loading` finds and loads a model, `verification` compares what is fast with the model itself, `tensor_parallel` divides a
model over several processes.
"""
