"""Losses of the baselines match their reference implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.losses.distillation import cross_entropy, kl_divergence
from jaxssl.methods.barlow import BarlowTwins
from jaxssl.methods.byol import BYOL
from jaxssl.methods.mocov2 import MoCoV2
from jaxssl.methods.msf import MSF
from jaxssl.methods.nnclr import NNCLR
from jaxssl.methods.simclr import SimCLR
from jaxssl.methods.simsiam import SimSiam
from jaxssl.methods.swav import SwAV
from jaxssl.methods.vicreg import VICReg
from jaxssl.ops.nearest import dot, normalize
from tests.golden_files import cases, split
from tests.methods.fixtures import CONSTANT, batch, loss_and_gradient, near, outputs, queue

KINDS = ("simclr", "moco", "nnclr", "byol", "simsiam", "barlow", "vicreg", "swav", "ressl", "msf")
GROUPS = dict(zip(KINDS, split("losses_baselines", *(rf"{kind}\d*" for kind in KINDS)), strict=True))
GOLDEN = cases("losses_baselines")


def golden_cases(kind: str):
  return pytest.mark.parametrize("case", [GOLDEN[name] for name in GROUPS[kind]], ids=GROUPS[kind])


def close(loss, expected) -> None:
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


@golden_cases("simclr")
def test_simclr_matches_the_reference(case):
  loss, gradient = loss_and_gradient(SimCLR(temperature=float(case["temperature"])), outputs(case["z"]))
  close(loss, case["loss"])
  near(gradient.prediction, case["grad_z"], 2e-5)


@golden_cases("moco")
def test_moco_matches_the_reference(case):
  method = MoCoV2(
    teacher_momentum=CONSTANT, queue=case["queue_init"].shape[1], temperature=float(case["temperature"]), symmetric=True
  )
  state = tuple(map(queue, case["queue_init"]))
  for i, (q, k) in enumerate(zip(case["q"], case["k"], strict=True)):
    loss, gradient = loss_and_gradient(method, outputs(q), outputs(k), state)
    close(loss, case["loss"][i])
    near(gradient.prediction, case["grad_q"][i], 2e-5)
    state, _ = method.update_state(state, outputs(q), outputs(k), batch(q.shape[1]))
    near(jnp.stack([memory.rows for memory in state]), case["queue_after"][i], 1e-6)
    assert {int(memory.cursor) for memory in state} == {int(case["ptr_after"][i])}


@golden_cases("nnclr")
def test_nnclr_matches_the_reference(case):
  method = NNCLR(temperature=float(case["temperature"]), queue=len(case["queue_init"]))
  state = queue(case["queue_init"])
  for i, (z, p) in enumerate(zip(case["z"], case["p"], strict=True)):
    student = outputs(p, projection=z)
    nearest = jnp.argmax(dot(normalize(student.projection), state.rows), axis=-1)
    np.testing.assert_array_equal(nearest, case["nn_index"][i])
    loss, gradient = loss_and_gradient(method, student, state=state)
    close(loss, case["loss"][i])
    near(gradient.prediction, case["grad_p"][i], 2e-5)
    np.testing.assert_array_equal(gradient.projection, jnp.zeros_like(student.projection))
    state, _ = method.update_state(state, student, None, batch(z.shape[1]))
    near(state.rows, case["queue_after"][i], 1e-6)
    assert int(state.cursor) == case["ptr_after"][i]


@golden_cases("byol")
def test_byol_matches_the_reference(case):
  loss, gradient = loss_and_gradient(BYOL(teacher_momentum=CONSTANT), outputs(case["p"]), outputs(case["z"]))
  close(loss, case["loss"])
  near(gradient.prediction, case["grad_p"], 2e-5)
  near(gradient.prediction[0], case["grad_p_one"], 2e-5)  # each direction has its own gradient


@golden_cases("simsiam")
def test_simsiam_matches_the_reference(case):
  loss, gradient = loss_and_gradient(SimSiam(), outputs(case["p"], projection=case["z"]))
  close(loss, case["loss"])
  near(gradient.prediction, case["grad_p"], 2e-5)
  near(2 * gradient.prediction[0], case["grad_p_one"], 2e-5)
  np.testing.assert_array_equal(gradient.projection, np.zeros_like(case["z"]))


@golden_cases("barlow")
def test_barlow_matches_the_reference(case):
  for scale, suffix in ((1.0, "_lightly"), (float(case["scale_loss"]), "")):
    method = BarlowTwins(off_diagonal=float(case["lamb"]), scale=scale)
    loss, gradient = loss_and_gradient(method, outputs(case["z"]))
    close(loss, case["loss" + suffix])
    near(gradient.prediction, case["grad_z" + suffix], 2e-5)


@golden_cases("vicreg")
def test_vicreg_matches_the_reference(case):
  invariance, variance, covariance = map(float, case["weights"])
  for factor, suffix in ((1.0, "_lightly"), (2.0, "")):  # one library averages the variance over the views, the other sums it
    method = VICReg(invariance=invariance, variance=factor * variance, covariance=covariance)
    loss, gradient = loss_and_gradient(method, outputs(case["z"]))
    close(loss, case["loss" + suffix])
    near(gradient.prediction, case["grad_z" + suffix], 2e-5)
  _, terms = method.loss(outputs(case["z"]), None, None, {})
  ours = [terms["invariance"], 2 * terms["variance"], terms["covariance"]]
  np.testing.assert_allclose(ours, case["loss_parts"], rtol=1e-5)


@golden_cases("swav")
def test_swav_matches_the_reference(case):
  method = SwAV(
    queue_use=CONSTANT,
    temperature=float(case["temperature"]),
    sinkhorn_temperature=float(case["epsilon"]),
    sinkhorn_iterations=int(case["iterations"]),
  )
  student = outputs(case["preds"])
  codes = jnp.stack([method.codes(view, (), jnp.float32(0)) for view in student.prediction[: len(case["codes"])]])
  near(codes, case["codes"])
  loss, gradient = loss_and_gradient(method, student, state=(), queue_use=0.0)
  close(loss, case["loss"])
  near(gradient.prediction, case["grad_preds"], 2e-5)


@golden_cases("ressl")
def test_divergence_is_the_cross_entropy_without_the_targets_entropy(case):
  q, k = normalize(jnp.asarray(case["z"]))
  rows = jnp.asarray(case["queue"], jnp.float32)
  target = dot(k, rows) / float(case["temperature_k"])

  def cross(z):
    return cross_entropy(jax.nn.softmax(target), dot(normalize(z), rows) / float(case["temperature_q"]))

  loss, gradient = jax.value_and_grad(cross)(jnp.asarray(case["z"][0]))
  close(loss, case["loss"])
  near(gradient, case["grad_q"], 2e-5)
  same = jax.grad(lambda z: kl_divergence(target, dot(normalize(z), rows) / float(case["temperature_q"])))(
    jnp.asarray(case["z"][0])
  )
  near(same, case["grad_q"], 2e-5)
  logits = dot(q, rows) / float(case["temperature_q"])
  close(kl_divergence(target, logits) + cross_entropy(jax.nn.softmax(target), target), loss)


@golden_cases("msf")
def test_msf_matches_the_reference(case):
  method = MSF(teacher_momentum=CONSTANT, queue=len(case["queue_init"]), k=int(case["topk"]))
  state = queue(case["queue_init"])
  for i, (q, t) in enumerate(zip(case["query"], case["target"], strict=True)):
    student, teacher = outputs(q[None]), outputs(t[None])
    _, rows = method.nearest(teacher, state, jnp.asarray(case["labels"][i]))
    np.testing.assert_array_equal(jnp.sort(rows), np.sort(case["neighbours"][i]))
    loss, gradient = loss_and_gradient(method, student, teacher, state)
    close(loss, case["loss"][i])
    near(gradient.prediction[0], case["grad_query"][i], 2e-5)
    state, logs = method.update_state(state, student, teacher, batch(len(q), case["labels"][i]))
    np.testing.assert_allclose(logs["purity"], case["purity"][i], atol=1e-6)
    near(state.rows, case["queue_after"][i], 1e-6)
    assert int(state.cursor) == case["ptr_after"][i]


def test_msf_with_one_neighbor_is_byol_in_one_direction():
  random = np.random.default_rng(0)
  q, t, rows = (np.asarray(normalize(random.normal(size=(8, 16)).astype(np.float32))) for _ in range(3))
  loss, _ = loss_and_gradient(MSF(teacher_momentum=CONSTANT, queue=8, k=1), outputs(q[None]), outputs(t[None]), queue(rows))
  close(loss, np.square(q - t).sum(1).mean())
