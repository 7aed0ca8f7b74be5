import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding

from jaxssl.parallel.mesh import REPLICATED, ROWS, make_mesh
from jaxssl.plan import hlo
from jaxssl.plan.hlo import Traffic


def traffic_of(count, payload, sent):
  return Traffic(count=count, payload=payload, sent=sent)


def compiled_text(function, *shapes, out):
  mesh = make_mesh()
  rows = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, ROWS)) for shape in shapes]
  return jax.jit(function, out_shardings=NamedSharding(mesh, out)).lower(*rows).compile().as_text()


@pytest.mark.parametrize(
  "function, out, traffic",
  [
    (lambda x: x.sum(0), REPLICATED, {"all-reduce": traffic_of(1, 128 * 4, 2 * 128 * 4 * 7 // 8)}),
    (lambda x: x + 1, REPLICATED, {"all-gather": traffic_of(1, 16 * 128 * 4, 16 * 128 * 4 * 7 // 8)}),
    (lambda x: x + 1, ROWS, {}),
  ],
)
def test_traffic_of_a_sum_a_copy_and_a_sharded_result(function, out, traffic):
  assert hlo.traffic(compiled_text(function, (16, 128), out=out), 8) == traffic


@pytest.mark.parametrize("steps", [3, 7])
def test_a_collective_in_a_loop_counts_once_per_iteration(steps):
  def function(x):
    return jax.lax.fori_loop(0, steps, lambda _, y: jnp.tanh(x @ y).T @ x, jnp.ones((128, 128)))

  traffic = hlo.traffic(compiled_text(function, (16, 128), out=REPLICATED), 8)
  assert traffic["all-reduce"]["count"] == steps
  assert traffic["all-reduce"]["payload"] == steps * 128 * 128 * 4


TPU = """HloModule step

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[], f32[4]) parameter(0)
  ROOT %r = f32[4]{0:T(128)} all-reduce(%p), channel_id=9, replica_groups={{0,1},{2,3}}, to_apply=%add
}

%condition (p: (s32[], f32[4])) -> pred[] {
  %c = s32[]{:T(128)} constant(19), metadata={op_name="while"}
  ROOT %lt = pred[]{:T(512)} compare(%p, %c), direction=LT
}

%start (q: bf16[1,8]) -> bf16[1,32] {
  %g = bf16[1,32]{1,0:T(8,128)} all-gather(%q), channel_id=1, replica_groups=mesh['a'=1,'b'=4] {'b'}, dimensions={1}
  ROOT %s = (bf16[1,8]{1,0}, bf16[1,32]{1,0}) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}

%hidden (q: bf16[1,8]) -> bf16[1,32] {
  ROOT %g = bf16[1,32]{1,0:T(8,128)} all-gather(%q), channel_id=1, replica_groups=mesh['a'=1,'b'=4] {'b'}, dimensions={1}
}

%never (q: f32[64]) -> f32[64] {
  ROOT %g = f32[64] all-reduce(%q), channel_id=3
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4] parameter(0)
  %a = (bf16[1,8]{1,0}, bf16[1,32]{1,0}) fusion(%x), kind=kCustom, calls=%start
  %b = bf16[1,32] fusion(%a), kind=kOutput, calls=%hidden
  %w = (s32[], f32[4]) while(%x), condition=%condition, body=%body
  %t = (pred[32]{0}, /*index=1*/s32[4]{0}) all-to-all(%x, %x), channel_id=4, replica_groups=[1,4]<=[4]
  %h = (f32[2]{0}, f32[8]{0}, u32[]) all-gather-start(%x), channel_id=5, replica_groups=[1,4]<=[4]
  %d = f32[2]{0} reduce-scatter(%x), channel_id=6, dimensions={0}, to_apply=%add
  ROOT %m = f32[4] collective-permute(%x), channel_id=7, source_target_pairs={{0,1}}
}
"""


def test_traffic_is_read_from_text_of_the_tpu_compiler():
  assert hlo.traffic(TPU, 4) == {
    "all-reduce": traffic_of(19, 19 * 16, 19 * 16),  # in groups of two
    "all-gather": traffic_of(2, 64 + 32, 48 + 24),  # the one in two fusions counts once
    "reduce-scatter": traffic_of(1, 32, 24),
    "all-to-all": traffic_of(1, 48, 36),
    "collective-permute": traffic_of(1, 16, 16),
  }
