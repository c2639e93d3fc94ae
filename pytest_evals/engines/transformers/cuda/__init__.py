"""What makes decoding fast on CUDA devices."""
