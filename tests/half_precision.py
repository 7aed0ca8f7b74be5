"""Compiler options of bfloat16 networks on CPUs, on which runs compute in float32 (jaxssl.parallel.compute_precision)."""

# On CPUs, jaxlib 0.12.0.1 fuses bfloat16 operations incorrectly through its YNN library: finite weights yield NaN. Tests that
# compile a bfloat16 network for a CPU pass this as jit's `compiler_options`. The empty list disables these fusions.
COMPILER_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}
