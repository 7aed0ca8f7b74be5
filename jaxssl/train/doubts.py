"""Values of a config that are allowed, but are mistakes more often than not: one line about each."""

from collections.abc import Iterator

from jaxssl.config.schema import Config

LARGEST_ADAMW = 0.01  # peak learning rate; published recipes of AdamW use 0.0001 to 0.005, those of SGD up to 30 times as much


def doubts(config: Config) -> Iterator[str]:
  """Yields a warning for each value that has no effect in this run, or probably harms it."""
  optim, epochs = config.optim, config.train.epochs
  base = optim.lr_base_batch_size
  peak = optim.lr * optim.schedule.base * (config.train.batch_size / base if base else 1)
  if optim.name == "adamw" and peak > LARGEST_ADAMW:
    yield f"optim.lr={optim.lr:g}: a peak of {peak:.3g} is large for optim.name=adamw; usual are peaks of 0.0001 to 0.005"
  if optim.name == "lars" and optim.decay_mask == "all":
    yield "optim.decay_mask=all: no effect, since optim.name=lars never decays biases and normalization layers"
  if config.bootstrap.policy != "off" and config.bootstrap.window >= epochs:
    window = config.bootstrap.window
    yield f"bootstrap.window={window}: bootstrapping starts after {window} epochs, but train.epochs={epochs}; lower the window"
  for field in ("freeze_encoder_epochs", "freeze_last_layer_epochs"):
    if (frozen := getattr(optim, field)) >= epochs:
      yield f"optim.{field}={frozen}: all of the run's {epochs} epochs; what it freezes is not trained"
  for name, schedule in (("optim.schedule", optim.schedule), ("optim.weight_decay", optim.weight_decay)):
    if schedule.milestones and schedule.kind != "step":
      yield f"{name}.milestones: no effect, since {name}.kind={schedule.kind}; set {name}.kind=step"
    elif schedule.kind == "step" and not schedule.milestones:
      yield f"{name}.kind=step: there are no milestones, so the value stays constant; set {name}.milestones"
