"""bfloat16 networks on a CPU, where a run computes in float32 (jaxssl.parallel.compute_precision)."""

# jaxlib 0.12.0.1 fuses bfloat16 operations on CPUs through its YNN library wrongly: NaN from finite weights. A test that
# compiles a bfloat16 network for a CPU passes this as jit's `compiler_options`. An empty list turns these fusions off.
COMPILER_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}
