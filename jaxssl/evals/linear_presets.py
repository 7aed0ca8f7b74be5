"""Protocols of linear classifiers by the name in `evals.linear.solvers`: those of publications, and this project's grids.

Each value of a publication is that of the released code at the file and line in the comment. All labels are used, and the last
epoch is measured, whereas the code of most keeps the best epoch on the validation images (docs/evaluation.md).
"""

import dataclasses
from collections.abc import Mapping

from jaxssl.config.eval_schema import LinearProtocol
from jaxssl.config.schedules import ScheduleConfig

_COSINE = ScheduleConfig(kind="cosine", by_epoch=True)

# winci-ai/resa e7869d1, eval_linear.py unless another file is named
RESA = LinearProtocol(
  lr=(40.0,),  # args.py:135; for models trained at batch 1,024, README.md:159
  lr_base_batch_size=256,  # :118
  schedule=ScheduleConfig(kind="step", milestones=(60, 80), rate=0.1, by_epoch=True),  # :128
  momentum=0.9,  # :125
  weight_decay=0.0,  # :125
  epochs=100,  # README.md:162
  batch_size=256,  # args.py:60, one process: README.md:161
  crops="random",  # :64, :65
  normalize="none",  # :207
  init="normal",  # :108
)
# winci-ai/resa_cifar bc5d70a, eval/evaluate.py
RESA_CIFAR = LinearProtocol(
  optimizer="adam",  # :55
  lr=(1e-2,),  # :48
  schedule=ScheduleConfig(kind="exponential", final=1e-4, by_epoch=True),  # from 1e-2 to 1e-6: :48, :49, :56
  weight_decay=5e-6,  # :55
  epochs=500,  # :46
  batch_size=1000,  # :60
  normalize="none",  # :63
  init="uniform",  # :52
)
# UMBCvision/ISD 4bdd603 and UMBCvision/MSF 130191c, eval_linear.py; lines of the former
ISD = LinearProtocol(
  lr=(0.01,),  # :43
  lr_base_batch_size=0,  # :206
  schedule=ScheduleConfig(kind="step", milestones=(15, 30), rate=0.1, by_epoch=True),  # :62
  momentum=0.9,  # :45
  weight_decay=1e-4,  # :47
  epochs=40,  # :34
  batch_size=256,  # :38
  crops="random",  # :152, :153
  normalize="l2_standardize",  # :199, :200
  init="uniform",  # :201
)
# facebookresearch/dino 7c446df, eval_linear.py unless another file is named
DINO = LinearProtocol(
  lr=(0.001,),  # :266
  lr_base_batch_size=256,  # :105
  schedule=_COSINE,  # :109
  momentum=0.9,  # :106
  weight_decay=0.0,  # :107
  epochs=100,  # :265
  batch_size=1024,  # :270 on each of 8 GPUs, README.md:263
  crops="random",  # :86, :87
  normalize="none",  # :173
  blocks=4,  # :256, for ViT-S
  init="normal",  # :243
)
# facebookresearch/moco 7397dfe, main_lincls.py
MOCO = LinearProtocol(
  lr=(30.0,),  # :77
  lr_base_batch_size=0,  # :303
  schedule=ScheduleConfig(kind="step", milestones=(60, 80), rate=0.1, by_epoch=True),  # :85, :597
  momentum=0.9,  # :90
  weight_decay=0.0,  # :94
  epochs=100,  # :55
  batch_size=256,  # :67
  crops="random",  # :344, :345
  normalize="none",  # :236
  init="normal",  # :236
)
# facebookresearch/moco-v3 c349e6e, main_lincls.py unless another file is named
MOCO_V3 = LinearProtocol(
  lr=(0.1,),  # :58, for ResNet-50
  lr_base_batch_size=256,  # :196
  schedule=_COSINE,  # by epoch: adjust_learning_rate
  momentum=0.9,  # :60
  weight_decay=0.0,  # :62
  epochs=90,  # :49
  batch_size=1024,  # :53
  crops="random",  # :273, :274
  normalize="none",  # :168
  init="normal",  # :168
)

PRESETS: Mapping[str, LinearProtocol] = {
  "sgd": LinearProtocol(),
  "augmented": LinearProtocol(crops="view", normalize="none"),
  "resa": RESA,
  "resa_b256": dataclasses.replace(RESA, lr=(10.0,)),  # for models trained at batch 256, README.md:168
  "resa_cifar": RESA_CIFAR,
  "isd": ISD,
  "dino": DINO,
  "dino_convnet": dataclasses.replace(DINO, blocks=1),  # :172
  "moco": MOCO,
  "moco_v3": MOCO_V3,
  "moco_v3_vit": dataclasses.replace(MOCO_V3, lr=(3.0,)),  # CONFIG.md:144
}
