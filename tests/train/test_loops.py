"""Training loops of ReSA and ISD+ match those of their references after every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schedules import ScheduleConfig, TrainingLength
from jaxssl.config.schema import OptimConfig
from jaxssl.core.types import TrainState, ViewBatch
from jaxssl.methods.isd import ISD
from jaxssl.methods.resa import ReSA
from jaxssl.models.heads import MLP
from jaxssl.models.network import Network
from jaxssl.train import optimizer
from jaxssl.train.optimizer import build_optimizer
from tests.golden_files import cases, split, tensors
from tests.methods.fixtures import queue
from tests.torch_weights import join, to_variables
from tests.train.fixtures import Encoder, build_step, compare, part

pytestmark = pytest.mark.slow

RESA, ISD_CASES, _ = split("train_steps", r"resa\w*", r"isdplus\d*", r"adasim\d*")
GOLDEN = cases("train_steps")


def mlp(weights: dict[str, np.ndarray]) -> MLP:
  """Returns the head that the weights of an nn.Sequential belong to."""
  sizes = [w.shape for name, w in weights.items() if name.endswith("weight") and w.ndim == 2]
  last = max(int(name.split(".")[0]) for name in weights)
  normed = f"{last}.running_mean" in weights
  last_bn = ("affine" if f"{last}.weight" in weights else "plain") if normed else "none"
  return MLP(hidden=sizes[0][0], out=sizes[-1][0], layers=len(sizes), last_bn=last_bn)


def run(case, method, modules, views, labels, monkeypatch, method_state, momentum):
  """Trains on the steps of a case; yields (epoch, i, state, logs). `modules`: our name -> names of student and teacher."""
  state, after = tensors(case, "init"), tensors(case, "after")
  per_epoch = case["loss"].shape[1]
  rates = jnp.asarray(np.broadcast_to(case["lr"].reshape(len(case["loss"]), -1), case["loss"].shape).ravel(), jnp.float32)
  monkeypatch.setattr(optimizer, "learning_rate", lambda *_: lambda step: rates[step])
  heads = {ours: mlp(part(state, student)) for ours, (student, _) in modules.items() if ours != "encoder"}
  network = Network(Encoder(state[f"{modules['encoder'][0]}.conv1.weight"].shape[0]), **heads)
  config = OptimConfig(name="sgd", decay_mask="all", weight_decay=ScheduleConfig(base=float(case["weight_decay"])))
  sgd = build_optimizer(config, TrainingLength(steps_per_epoch=per_epoch, epochs=len(case["loss"])), batch_size=1)
  train_step = build_step(network, method, {"teacher_momentum": momentum}, sgd)

  def pick(which: int):
    named = {ours: to_variables(part(state, names[which])) for ours, names in modules.items() if names[which]}
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), join(**named))

  student = pick(0)
  train_state = TrainState(
    step=jnp.int32(0), student=student, teacher=pick(1), method_state=method_state, neighbor_bank=None,
    opt_state=train_step.optimizer.init(student.params),
  )  # fmt: skip
  step = jax.jit(train_step.train)
  for epoch in range(len(case["loss"])):
    for i in range(per_epoch):
      x = jnp.asarray(case["x"][epoch, i].transpose(1, 0, 3, 4, 2))
      label = jnp.full(len(x), -1, jnp.int32) if labels is None else jnp.asarray(labels[epoch, i])
      rows = ViewBatch(index=jnp.arange(len(x)), views=views(x), label=label)
      train_state, logs = step(train_state, rows, jax.random.key(0))
      np.testing.assert_allclose(logs["loss"], case["loss"][epoch, i], rtol=3e-4, err_msg=f"epoch {epoch} step {i}")
      compared = 0
      for which, net in enumerate((train_state.student, train_state.teacher)):
        theirs = {ours: names[which] for ours, names in modules.items() if names[which]}
        compared += compare(net, theirs, state, after, (epoch, i), 1e-3, 1e-5)
      assert compared == sum("num_batches" not in name and name not in ("queue", "labels", "queue_ptr") for name in after)
      yield epoch, i, train_state, logs


@pytest.mark.parametrize("name", RESA)
def test_resa_loop_matches_the_reference(name, monkeypatch):
  case = GOLDEN[name]
  momentum = jnp.asarray(case["momentum"], jnp.float32)
  method = ReSA(teacher_momentum=ScheduleConfig(), temperature=float(case["temperature"]))
  modules = {"encoder": ("encoder", "momentum_encoder"), "projector": ("projector", "momentum_projector")}
  if any(n.startswith("predictor.") for n in map(str, case["names"])):
    modules["predictor"] = ("predictor", "")
  views = lambda x: {"weak": x[:, :1], "strong": x[:, 1:]}  # noqa: E731
  assert (
    len(list(run(case, method, modules, views, None, monkeypatch, None, lambda step: momentum[step]))) == case["loss"].size > 0
  )


@pytest.mark.parametrize("name", ISD_CASES)
def test_isd_plus_loop_matches_the_reference(name, monkeypatch):
  case = GOLDEN[name]
  state, after = tensors(case, "init"), tensors(case, "after")
  momentum = jnp.float32(case["momentum"])
  method = ISD(
    teacher_momentum=ScheduleConfig(),
    queue=len(state["queue"]),
    student_temperature=float(case["temp_s"]),
    teacher_temperature=float(case["temp_t"]),
    student_view="strong",
    teacher_view="weak",
  )
  modules = {
    "encoder": ("encoder_q", "encoder_k"),
    "projector": ("encoder_q.fc", "encoder_k.fc"),
    "predictor": ("predict_q", ""),
  }
  views = lambda x: {"strong": x[:, :1], "weak": x[:, 1:]}  # noqa: E731
  steps = 0
  keep = lambda step: momentum  # noqa: E731
  for epoch, i, train_state, logs in run(
    case, method, modules, views, case["labels"], monkeypatch, queue(state["queue"]), keep
  ):
    np.testing.assert_allclose(logs["purity"], case["purity"][epoch, i], atol=1e-6)
    np.testing.assert_allclose(train_state.method_state.rows, after["queue"][epoch, i], atol=2e-4)
    np.testing.assert_array_equal(train_state.method_state.labels, after["labels"][epoch, i].ravel())
    assert int(train_state.method_state.cursor) == int(after["queue_ptr"][epoch, i].item())
    steps += 1
  assert steps == case["loss"].size > 0
