"""Kernels that Triton compiles for the GPU at hand. Imported where Triton is known to be; `TRITON_INTERPRET=1` runs them on a CPU."""
