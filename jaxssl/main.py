"""The command line: python -m jaxssl.main [train] --config FILE[:recipe] [--workdir DIR] [--config.FIELD=VALUE ...]."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

HELP = """usage: python -m jaxssl.main [train] --config FILE[:RECIPE] [--workdir DIR] [--config.FIELD=VALUE ...]
       python -m jaxssl.main evaluate [NAME ...] --workdir DIR [--evals.FIELD=VALUE ...] [--data.FIELD=VALUE ...]
       python -m jaxssl.main report --workdir DIR [DIR ...] [--out FILE]
       python -m jaxssl.main embed --workdir DIR --out FILE [--data.path=IMAGES] [--patches]
       python -m jaxssl.main neighbors --embeddings FILE --image IMAGE [--k 10] [--sheet OUT.png]
       python -m jaxssl.main export --workdir DIR --format FORMAT --out DIR [--step N] [--heads] [--license NAME]
       python -m jaxssl.main inspect --data FOLDER_OR_ZIP [--out CONFIG.py] [--data.FIELD=VALUE ...]
       python -m jaxssl.main profile --config FILE[:RECIPE] [--workdir DIR] [--config.FIELD=VALUE ...]
       python -m jaxssl.main plan --config FILE[:RECIPE] --topology NAME[,NAME ...] [--config.FIELD=VALUE ...]

Learns image representations without labels. The same command with the same workdir goes on where it stopped.

  train                      the default: trains, measures, writes results.json
  --config FILE[:RECIPE]     a file such as configs/nnboot.py; its head lists its recipes, e.g. configs/nnboot.py:cifar10;
                             every recipe has smaller versions: configs/nnboot.py:cifar10,cpu (minutes on two CPU cores)
                             and configs/nnboot.py:cifar10,runlocal (a minute)
  --config.FIELD=VALUE       changes a field, e.g. --config.optim.lr=0.001 --config.bootstrap.policy=off
  --config.model.init_from=FILE  starts the encoder from weights of others: safetensors, or torch's (docs/weights.md)
  --workdir DIR              where everything is written (default: runs/ and the config's name); gs://BUCKET/NAME is
                             allowed here, and for images, weights and what commands write
  --distributed MODE         auto (default): joins the processes of Slurm, Open MPI, a TPU pod, Kubernetes, or launch/local.sh,
                             where there are several; on: must join; off: never

  evaluate                   measures a run's network again and adds to its results.json; NAME: knn, linear, lowshot,
                             finetune, clusters, retrieval, neighbors, quality (default: what evals.final names)
  --evals.FIELD=VALUE        changes a protocol, e.g. --evals.knn.k=1,20 --evals.linear.solvers=sgd --evals.network=student
  --data.FIELD=VALUE         measures on other images, e.g. --data.path=FOLDER
  --step N                   the checkpoint (default: the newest)

  report                     shows in one web page whether a run learned, why not, and what; several runs are compared
  --out FILE                 where (default: report.html in the first workdir)

  embed                      writes features, path, class and split of every image to a file, FILE.npz or FILE.parquet;
                             the same command goes on where it was killed
  --data.path=FOLDER_OR_ZIP  these images (default: the run's own to train and to test on)
  --patches                  a ViT's patch tokens as well
  --step, --evals.FIELD      as above; evals.network, evals.size, evals.resize

  neighbors                  lists the images of such a file that are nearest to IMAGE by cosine
  --image IMAGE              a path in the file, or any image file: then the run that made the file embeds it
  --k K                      how many (default 10)
  --sheet OUT.png            draws them as well
  --workdir DIR              the run, where it is no longer where it was

  export                     writes a run's network for others, loads it back and compares; a check that fails leaves nothing
  --format FORMAT            flax (jaxssl.load_pretrained reads it), timm, torchvision, onnx, stablehlo (any JAX runs it)
  --out DIR                  a folder that is new or empty
  --heads                    projector and predictor as well (flax)
  --license NAME             what its card says, e.g. --license=mit
  --step, --evals.FIELD      as above; evals.network, evals.size, evals.resize

  inspect                    looks at a folder or a zip of images before a run: counts, sizes, unreadable files, duplicates,
                             colors, speed, memory; suggests a config, with a reason for each value
  --out CONFIG.py            writes it, to be trained with --config CONFIG.py; beside it CONFIG.found.txt names what is wrong
  --data.FIELD=VALUE         goes into the config as it is, e.g. --data.test_path=FOLDER

  profile                    takes a dozen training steps, writes a trace of ten to the workdir, prints where their time goes

  plan                       what a run would take, without its images or machines: memory of a chip by what fills it,
                             operations, traffic, images/s that a host must read; whether it fits, and what would make it fit
  --topology NAME[,NAME ...] TPU slices such as v5e:4x4 (compiled; pip install 'jaxssl[tpu-plan]'), cpu:N (compiled here),
                             gpu:N (estimated)
  --batch-size N[,N ...]     a column each (default: the config's)
  --images N                 how many images, e.g. 1e9, or a set's name (default: known from the recipe's, e.g. imagenet)
  --size N                   their side in pixels, where data.placement=device
  --utilization SHARE        assumed of the chips' peak (default 0.3); --step-seconds S: instead, from a run
  --price DOLLARS            of a chip for an hour: adds what the run costs
  --memory GB, --peak TFLOPS of a GPU, or of one CPU device (default for a GPU: 80 and 312)
  --check                    plans again with the first change that is proposed
  --out FILE.json            keeps the plans; what is in it already is not compiled again

  --help                     this text

A workdir holds config.json, metrics.jsonl, results.json, train.log,
report.html, checkpoints/ and tensorboard/.
"""
SEVERAL = ("train", "evaluate")  # commands that several processes run together


def main(argv: list[str] | None = None) -> int:
  """Runs one command; returns the exit code: 0 done (or saved on SIGTERM), 1 training failed, 2 the user's mistake."""
  argv = list(sys.argv[1:] if argv is None else argv)
  if not argv or {"-h", "--help", "help"} & set(argv):
    print(HELP, end="")
    return 0
  command = argv.pop(0) if not argv[0].startswith("-") else "train"
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # or tensorflow announces at every start that it uses them

  import jax  # heavy imports come after --help

  from jaxssl.cli import embed, evaluate, export, inspect, neighbors, plan, profile, report, train
  from jaxssl.core import cache, paths
  from jaxssl.core.errors import UserError
  from jaxssl.parallel import preemption, processes

  commands: dict[str, Callable[[list[str]], int]] = {
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "report": report.report,
    "embed": embed.embed,
    "neighbors": neighbors.neighbors,
    "export": export.export,
    "inspect": inspect.inspect,
    "profile": profile.profile,
    "plan": plan.plan,
  }
  try:
    if command not in commands:
      raise UserError(f"{command!r} is no command; allowed: {', '.join(commands)}")
    mode, argv = processes.flag(argv)
    if command in SEVERAL:
      processes.start(mode)
    elif mode == "on":
      raise UserError(f"--distributed=on is not allowed with {command}; allowed with {', '.join(SEVERAL)}")
    cache.keep_compiled()
    return commands[command](argv)
  except UserError as error:
    return processes.exit_with(f"error: {error}", 2)
  except jax.errors.JaxRuntimeError as error:
    if jax.process_count() == 1:
      raise
    reason = str(error).splitlines()[0]
    return processes.exit_with(f"error: {reason}. Another process may be gone; the same command goes on", preemption.AGAIN)
  except processes.Lost as error:
    return processes.exit_with(f"error: {error}; the same command goes on from the last checkpoint", preemption.AGAIN)
  except Exception as error:
    if not paths.gcs_error(error):
      raise
    return processes.exit_with(f"error: {paths.gcs_error(error)}", 2 if paths.is_permanent(error) else preemption.AGAIN)


def run() -> NoReturn:
  """Runs one command as a process of its own."""
  code = main()
  if code == 2:  # nothing is pending, and libraries' threads would tell of their own troubles
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


if __name__ == "__main__":
  run()
