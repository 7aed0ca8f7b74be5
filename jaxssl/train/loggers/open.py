"""Opens the loggers of a run."""

import json

from jaxssl.config.schema import Config, LogConfig
from jaxssl.core import LOG
from jaxssl.parallel import processes
from jaxssl.train.loggers import mlflow, tensorboard, wandb
from jaxssl.train.loggers.background import Background
from jaxssl.train.loggers.tensorboard import TensorBoard
from jaxssl.workdir.workdir import Workdir, as_json


def check(config: LogConfig) -> None:
  """Raises UserError for a tracker whose client is not installed or that cannot be reached, before anything is loaded."""
  if not processes.is_primary():
    return
  if config.wandb:
    wandb.check(config.wandb)
  if config.mlflow:
    mlflow.check(config.mlflow)


def open_loggers(config: Config, workdir: Workdir, name: str) -> list[Background]:
  """Opens the loggers that the config names, and TensorBoard's; none in other processes than the first.

  `name`: of the run. Raises UserError if a tracker cannot be used.
  """
  if not processes.is_primary():
    return []
  text = json.dumps(as_json(config), indent=2)
  loggers = []
  if config.log.wandb:
    run = wandb.Wandb(config.log.wandb, workdir, name, text)
    loggers.append(Background(wandb.FIELD, lambda: run))
  if config.log.mlflow:
    tracked = mlflow.MLflow(config.log.mlflow, workdir, name, text)
    loggers.append(Background(mlflow.FIELD, lambda: tracked))
  if tensorboard.available():
    loggers.append(Background("TensorBoard", lambda: TensorBoard(workdir.tensorboard)))
  else:
    LOG.info("no TensorBoard events: clu or tensorflow is not installed; %s has all numbers", workdir.metrics.name)
  for logger in loggers:
    logger.text("config", text)
  return loggers
