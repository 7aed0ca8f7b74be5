"""Fine-tuning: the whole network trained with the labels, from the learned weights."""

import numpy as np

from jaxssl.evals.base import Measurement, Subject, by_group, labelled_test, mean_of
from jaxssl.evals.tuning import Tuning
from jaxssl.types import UserError


def measure(subject: Subject) -> list[Measurement]:
  """Top-1 accuracy in percent on the test split, taught by all labels of the bank (`evals.finetune`)."""
  bank, queries = subject.bank, labelled_test(subject, "finetune")
  tuning = make(subject)
  right = guess(tuning, np.arange(len(bank.x)), subject.config.train.seed) == queries.labels
  return [
    Measurement(
      name=name,
      value=value,
      protocol=f"{describe(subject)}, taught by {bank.says}, queries: {queries.says}, "
      f"{mean_of(name, subject.splits.groups)}{subject.says}",
    )
    for name, value in by_group("finetune", right, queries.labels, subject.splits.groups).items()
  ]


def make(subject: Subject) -> Tuning:
  """Prepares what `evals.finetune` asks for. Raises UserError where there is no network to tune."""
  if subject.variables is None:
    raise UserError("finetune is not possible on raw pixels")
  config = subject.config.evals.finetune
  return Tuning(subject, (config.head_lr,), config.lr, config.epochs, config.batch_size, config.weight_decay)


def guess(tuning: Tuning, rows: np.ndarray, seed: int) -> np.ndarray:
  """Fine-tunes on some rows of the bank and gives the classes of the test split: int [m]."""
  test = tuning.subject.splits.test
  assert test is not None
  return tuning.logits(tuning.fit(rows, seed), test)[:, 0].argmax(1)


def describe(subject: Subject) -> str:
  """Names the protocol."""
  c = subject.config.evals.finetune
  return (
    f"fine-tuned for {c.epochs} epochs of batches of {c.batch_size}, SGD, momentum 0.9, cosine, learning rates {c.lr} "
    f"(encoder) and {c.head_lr} (classifier), weight decay {c.weight_decay}, the run's crops"
  )
