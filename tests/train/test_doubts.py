import pytest

from jaxssl.config import load, recipes
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.train.doubts import doubts
from tests.config.test_recipes import CONFIGS

CONFIG = read(Config, recipes.defaults().to_dict())


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"optim.lr": 0.06, "train.batch_size": 512}, "optim.lr=0.06: a peak of 0.12 is large for optim.name=adamw; usual are "),
    ({"optim.lr": 0.06, "optim.lr_base_batch_size": 0}, "optim.lr=0.06: a peak of 0.06 is large for optim.name=adamw; "),
    ({"bootstrap.policy": "naive", "train.epochs": 50}, "bootstrap.window=50: bootstrapping starts after 50 epochs, but "),
    ({"optim.name": "lars", "optim.decay_mask": "all"}, "optim.decay_mask=all: no effect, since optim.name=lars "),
    ({"optim.freeze_encoder_epochs": 100}, "optim.freeze_encoder_epochs=100: all of the run's 100 epochs; "),
    ({"optim.schedule.milestones": (60,)}, "optim.schedule.milestones: no effect, since optim.schedule.kind=cosine; set "),
    ({"optim.schedule.kind": "step"}, "optim.schedule.kind=step: there are no milestones, so "),
  ],
)
def test_a_probable_mistake_is_one_warning(changes, message):
  (warning,) = doubts(tree.replace(CONFIG, changes))
  assert warning.startswith(message)


def test_usual_values_cause_none():
  fine = {"optim.lr": 0.06, "optim.name": "sgd", "optim.schedule.kind": "step", "optim.schedule.milestones": (60, 80)}
  fine |= {"bootstrap.policy": "naive", "train.epochs": 90}
  assert not [*doubts(CONFIG), *doubts(tree.replace(CONFIG, fine))]
  for path in CONFIGS:
    for recipe in load.recipes_of(path):
      for name in (recipe, ",".join(filter(None, [recipe, "cpu"]))):
        assert not list(doubts(load.load_config(f"{path}:{name}"))), f"{path}:{name}"
