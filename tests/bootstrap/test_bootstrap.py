import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.bootstrap import policy
from jaxssl.bootstrap.policy import NeighborBootstrap
from jaxssl.config.schema import BootstrapConfig
from jaxssl.core import UserError
from jaxssl.ops import nearest
from jaxssl.parallel.mesh import make_mesh
from tests.golden_files import cases, split

pytestmark = pytest.mark.slow

(STATE_MACHINES,) = split("adasim_bank", r"c\d+")
GOLDEN = cases("adasim_bank")
SAMPLE_PARTNERS = jax.jit(NeighborBootstrap.sample_partners, static_argnums=0)
VOTE = jax.jit(NeighborBootstrap.vote, static_argnums=0)
UPDATE_BANK = jax.jit(NeighborBootstrap.update_bank, static_argnums=0)


def build(case, devices: int, **changes) -> NeighborBootstrap:
  config = BootstrapConfig(
    policy="adaptive",
    k=int(case["topk"]),
    window=int(case["vote_nn_nb"]),
    features=("first", "second", "mean")[int(case["rep_type"])],
    dtype="float32",
    search_chunk=7,
  )
  mesh = make_mesh(jax.devices()[:devices])
  return NeighborBootstrap(config=dataclasses.replace(config, **changes), mesh=mesh, num_images=len(case["init_bank"]))


@pytest.mark.parametrize("window", [1, 2])
def test_an_epoch_that_is_started_again_keeps_its_partners(window):
  """As after a run was saved between the start of an epoch and its first step."""
  bootstrap, rng = build(GOLDEN[STATE_MACHINES[0]], 1, window=window), np.random.default_rng(0)
  features = rng.normal(size=(bootstrap.num_images, 8)).astype(np.float32)
  bank, key = bootstrap.init(8), jax.random.key(0)
  assert bank is not None
  for epoch in range(4):
    bank = SAMPLE_PARTNERS(bootstrap, bank, key, epoch)
    again = SAMPLE_PARTNERS(bootstrap, bank, key, epoch)
    jax.tree.map(np.testing.assert_array_equal, bank, again)
    index = rng.permutation(bootstrap.num_images).astype(np.int32)
    bank = UPDATE_BANK(bootstrap, bank, index, features[None, index])
  assert float(again.trusted) > 0


def replay(case, bootstrap: NeighborBootstrap):
  """Runs all epochs of a case; yields (epoch, state at its start, state at its end)."""
  count = bootstrap.num_images
  state = bootstrap.init(case["init_bank"].shape[1])
  assert state is not None
  state = dataclasses.replace(state, features=state.features.at[:count].set(case["init_bank"]))
  for epoch in range(len(case["bank"])):
    before = state
    state = SAMPLE_PARTNERS(bootstrap, state, jax.random.key(0), jnp.int32(epoch))
    for index, features in zip(case["batch_indices"][epoch], case["feats"][epoch], strict=True):
      state = UPDATE_BANK(bootstrap, state, jnp.asarray(index), jnp.asarray(features))
    yield epoch, before, state


@pytest.mark.parametrize("name, devices", list(zip(STATE_MACHINES, (8, 1, 8, 1), strict=True)))
def test_bank_votes_and_partners_match_the_reference(name, devices):
  case = GOLDEN[name]
  count, window = len(case["init_bank"]), int(case["vote_nn_nb"])
  bootstrap = build(case, devices, as_released=True)
  votes_checked = 0
  for epoch, before, after in replay(case, bootstrap):
    clear = case["nn_ambiguous"][epoch] == 0
    slot = epoch % window
    np.testing.assert_allclose(after.features[:count], case["bank"][epoch], atol=2e-6)
    np.testing.assert_array_equal(np.where(clear, after.ids[:count, slot], 0), np.where(clear, case["nn_tensor"][epoch], 0))
    np.testing.assert_allclose(after.similarities[:count, slot], case["sim_tensor"][epoch], atol=2e-6)
    if epoch < window:
      np.testing.assert_array_equal(after.partners, np.arange(len(after.partners)))
      continue
    vote = epoch - window
    votes_checked += 1
    clear = case["vote_ambiguous"][vote] == 0
    assert clear.any()
    for t, temperature in enumerate(case["sampling_temps"]):
      ids, probabilities, trusted = VOTE(build(case, devices, temperature=float(temperature)), before)
      ids, probabilities, trusted = (np.asarray(x)[:count][clear] for x in (ids, probabilities, trusted))
      np.testing.assert_array_equal(ids, case["top_keys"][vote][clear])
      np.testing.assert_array_equal(trusted, case["bootstrap"][vote][clear] == 1)
      np.testing.assert_allclose(probabilities, case["dist"][vote][t][clear], atol=1e-4)
    partners, own = np.asarray(after.partners)[:count], np.arange(count)
    np.testing.assert_array_equal(partners[clear & (case["bootstrap"][vote] == 0)], own[clear & (case["bootstrap"][vote] == 0)])
    assert all(partners[i] in case["top_keys"][vote][i] for i in own[clear & (case["bootstrap"][vote] == 1)])
  assert votes_checked == len(case["top_keys"])


def clustered(count: int, features: int, seed: int = 0) -> np.ndarray:
  """Returns unit features around a few centers, so that images have near neighbors."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(8, features))[rng.integers(0, 8, count)] + 0.3 * rng.normal(size=(count, features))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def run(name: str, epochs: int, devices: int = 1, count: int = 44, batch: int = 8, **changes):
  """Runs epochs with drifting features; yields the state at the start of each epoch."""
  config = BootstrapConfig(policy=name, **{"k": 4, "window": 2, "temperature": 0.5, "search_chunk": 10, **changes})
  bootstrap = NeighborBootstrap(config=config, mesh=make_mesh(jax.devices()[:devices]), num_images=count)
  state = bootstrap.init(6)
  for epoch in range(epochs):
    state = SAMPLE_PARTNERS(bootstrap, state, jax.random.key(3), jnp.int32(epoch))
    yield state
    features = clustered(count, 6) + 0.01 * clustered(count, 6, seed=epoch + 1)
    order = np.random.default_rng(epoch).permutation(count)[: count // batch * batch].reshape(-1, batch)
    for index in order:
      state = UPDATE_BANK(bootstrap, state, jnp.asarray(index, jnp.int32), jnp.asarray(features[index][None]))


def test_policy_off_stores_no_state():
  bootstrap = NeighborBootstrap(config=BootstrapConfig(), mesh=make_mesh(), num_images=4)
  assert bootstrap.init(6) is None
  assert bootstrap.update_bank(None, jnp.zeros(2, jnp.int32), jnp.ones((1, 2, 6))) is None


@pytest.mark.parametrize("policy", ["naive", "adaptive"])
def test_partners_are_neighbors_only_once_the_window_is_full(policy):
  for epoch, state in enumerate(run(policy, 5, count=48)):
    partners = np.asarray(state.partners)[:48]
    share = (partners != np.arange(48)).mean()
    if epoch < 2:
      assert share == 0 and float(state.trusted) == 0
    else:
      assert share > 0.2 and partners.max() < 48
      assert policy == "adaptive" or float(state.trusted) == 1


def test_one_and_eight_devices_draw_the_same_partners():
  for single, sharded in zip(run("adaptive", 4, 1), run("adaptive", 4, 8), strict=True):
    np.testing.assert_array_equal(single.partners, sharded.partners)
    np.testing.assert_array_equal(single.ids, sharded.ids)


@pytest.mark.parametrize("devices, count", [(1, 44), (8, 44), (1, 8)])  # 22, 3 and 4 rows in each half of a device
def test_votes_do_not_depend_on_the_blocks(devices, count, monkeypatch):
  *_, state = run("adaptive", 3, devices, count=count)
  bootstrap = build(GOLDEN[STATE_MACHINES[0]], devices, k=4)
  whole = VOTE(bootstrap, state)
  monkeypatch.setattr(policy, "VOTED", 5)
  for a, b in zip(whole, NeighborBootstrap.vote(bootstrap, state), strict=True):
    np.testing.assert_array_equal(a, b)


def test_only_one_slot_of_the_window_is_written_at_a_step():
  bootstrap = NeighborBootstrap(config=BootstrapConfig(policy="naive", k=4), mesh=make_mesh(), num_images=64)
  state = bootstrap.init(6)
  text = UPDATE_BANK.lower(bootstrap, state, jnp.arange(8, dtype=jnp.int32), jnp.ones((1, 8, 6))).as_text()
  scattered = set(re.findall(r"stablehlo.scatter.*?\) : \(tensor<([0-9x]+)x[a-z]", text.replace("\n", " ")))
  assert scattered and all(shape.count("x") < 2 for shape in scattered), scattered


def test_skipped_images_cast_no_vote_and_unvisited_rows_do_not_compete():
  for state in run("adaptive", 4, count=44, batch=16):  # 12 of 44 images are left out of each epoch
    slot_before = (int(state.slot) - 1) % 2
    visited = np.asarray((state.features != 0).any(-1))
    ids = np.asarray(state.ids[:, slot_before])
    assert not np.isin(ids, np.flatnonzero(~visited)).any()
    np.testing.assert_array_equal(np.asarray(state.ids[:, int(state.slot)]), -1)
  assert (ids[:44] == -1).all(1).sum() == 12


def test_bytes_per_image_are_bounded():
  config = BootstrapConfig(policy="adaptive")
  bootstrap = NeighborBootstrap(config=config, mesh=make_mesh(jax.devices()[:1]), num_images=800)
  state = bootstrap.init(384)
  assert state is not None
  used = (state.features.nbytes + state.ids.nbytes + state.similarities.nbytes) / 800
  assert used <= 2 * 384 + 6 * config.window * config.k


@pytest.mark.parametrize("field, value", [("k", 0), ("k", 11), ("window", 0), ("temperature", 0.0)])
def test_errors_name_the_field(field, value):
  with pytest.raises(UserError, match=rf"bootstrap\.{field}={value}: (must|out of range)"):
    NeighborBootstrap(
      config=dataclasses.replace(BootstrapConfig(policy="naive"), **{field: value}), mesh=make_mesh(), num_images=10
    )


def test_search_memory_is_bounded_by_the_chunk():
  rows, batch, chunk = 65_536, 64, 2048
  mesh = make_mesh(jax.devices()[:1])
  shapes = [((rows, 4), "float16"), ((rows,), "bool"), ((batch, 4), "float32")]
  bank, usable, queries = (jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes)
  search = jax.jit(lambda *arrays: nearest.search(mesh, *arrays, k=5, chunk=chunk))
  peak = search.lower(bank, usable, queries).compile().memory_analysis().temp_size_in_bytes
  assert peak < 4 * batch * rows / 2  # the whole matrix of products takes 4 x batch x rows bytes
