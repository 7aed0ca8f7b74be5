import jax
import jax.numpy as jnp

from benchmarks import compiled, runs
from benchmarks.results import Row
from jaxssl.train.cost import flops


def test_flops_of_a_forward_pass():
  def forward(x, kernel, weights):
    y = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jax.lax.scan(lambda z, _: (jax.jit(jnp.dot)(z, weights), None), y.reshape(2, -1), None, length=3)[0]

  shapes = (2, 8, 8, 3), (3, 3, 3, 5), (4 * 4 * 5, 4 * 4 * 5)
  jaxpr = jax.make_jaxpr(forward)(*(jnp.zeros(shape) for shape in shapes))
  convolution, product = 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3), 2 * (2 * 80) * 80
  assert flops(jaxpr.jaxpr, chips=1) == convolution + 3 * product


def test_a_step_counts_three_student_passes_and_one_teacher_pass():
  # One view per network and no predictor.
  run = runs.build_run("moco.py:runlocal", "train.batch_size=8", "data.limit=0", num_images=16)
  jaxpr = jax.make_jaxpr(lambda v, x: run.train_step.network.apply(v, [x], joint=False, key=None)[0])
  images = jax.ShapeDtypeStruct((8, 1, 32, 32, 3), jnp.float32)
  one_pass = flops(jaxpr(run.state_shapes.student, images).jaxpr, chips=1)
  assert one_pass > 0 and runs.model_flops(run) == 4 * one_pass


def test_kernels_are_counted():
  step = jax.jit(lambda x, w: jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y @ w), x).sum())
  opcodes = compiled.kernels(step.lower(jnp.ones((64, 64)), jnp.ones((64, 64))).compile().as_text() or "")
  # The loop, the sum and copies, without the body of the loop.
  assert 2 <= opcodes.total() <= 8 and not compiled.FREE & set(opcodes)
  text = "%inner { %a = f32[] parameter(0) }\n\nENTRY %main {\n  %x = f32[4]{0} parameter(0)\n"
  text += "  %y = (f32[4]{0}, s32[]) while(%x), condition=%c\n  ROOT %z = f32[4]{0} fusion(%y), kind=kLoop\n}"
  assert compiled.kernels(text) == {"while": 1, "fusion": 1}


def test_a_ratio_above_one_is_better():
  assert Row(key="", value=2.0, unit="s", peer="", peer_value=3.0).ratio == 1.5
  assert Row(key="", value=3.0, unit="images/s", peer="", peer_value=2.0).ratio == 1.5
