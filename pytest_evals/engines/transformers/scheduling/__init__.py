"""Which sequences form the next batch, and which prefixes are kept: policy without tensors."""
