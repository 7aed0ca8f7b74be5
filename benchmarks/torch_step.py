"""SimCLR's training step in PyTorch, channels-last and compiled: the peer of `step` and `whole`."""

import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import torch  # type: ignore[import-not-found]
import torch.nn.functional as F  # type: ignore[import-not-found]
from PIL import Image
from torch import nn  # type: ignore[import-not-found]

from benchmarks.views import pil_view
from jaxssl.config.schema import ViewConfig

STAGES = {"resnet18": (False, (2, 2, 2, 2)), "resnet50": (True, (3, 4, 6, 3))}


class Block(nn.Module):
  """Residual block of torchvision."""

  def __init__(self, in_channels: int, width: int, stride: int, bottleneck: bool):
    super().__init__()
    out = 4 * width if bottleneck else width
    plan = [(width, 1, 1), (width, 3, stride), (out, 1, 1)] if bottleneck else [(width, 3, stride), (out, 3, 1)]
    layers: list[nn.Module] = []
    before = in_channels
    for channels, side, step in plan:
      layers += [
        nn.Conv2d(before, channels, side, step, side // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
      ]
      before = channels
    self.body = nn.Sequential(*layers[:-1])
    self.shortcut = nn.Sequential()
    if stride != 1 or in_channels != out:
      self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

  def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
    return F.relu(self.body(x) + self.shortcut(x))


def resnet(name: str, width: float, cifar: bool) -> tuple[nn.Module, int]:
  """Returns a residual network without a classifier, and its number of features."""
  bottleneck, stages = STAGES[name]
  channels = first = int(64 * width)
  side, stride, padding = (3, 1, 1) if cifar else (7, 2, 3)
  layers = [nn.Conv2d(3, channels, side, stride, padding, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
  layers += [] if cifar else [nn.MaxPool2d(3, 2, 1)]
  for stage, blocks in enumerate(stages):
    for i in range(blocks):
      layers.append(Block(channels, first * 2**stage, 2 if stage and not i else 1, bottleneck))
      channels = first * 2**stage * (4 if bottleneck else 1)
  return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels


class Attention(nn.Module):
  """Pre-norm transformer block with PyTorch's fused attention."""

  def __init__(self, dim: int, heads: int):
    super().__init__()
    self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(dim), nn.LayerNorm(dim)
    self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
    self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

  def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
    b, n, d = x.shape
    q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
    x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
    return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
  """ViT-S/16 with a class token."""

  def __init__(self, side: int, dim: int = 384, heads: int = 6, depth: int = 12, patch: int = 16):
    super().__init__()
    self.embed = nn.Conv2d(3, dim, patch, patch)
    self.token = nn.Parameter(torch.zeros(1, 1, dim))
    self.position = nn.Parameter(torch.zeros(1, 1 + (side // patch) ** 2, dim))
    self.blocks, self.norm = nn.Sequential(*(Attention(dim, heads) for _ in range(depth))), nn.LayerNorm(dim)

  def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
    x = self.embed(x).flatten(2).transpose(1, 2)
    x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
    return self.norm(self.blocks(x))[:, 0]


def encoder_of(name: str, side: int, width: float) -> tuple[nn.Module, int]:
  """Returns an encoder and its number of features; from then on, float32 products on a GPU use TF32, as in JAX."""
  torch.backends.cudnn.benchmark = True  # XLA also chooses kernels by their time
  torch.set_float32_matmul_precision("high")
  return (ViT(side), 384) if name == "vit_s" else resnet(name, width, cifar=side <= 64)


def passes(name: str, side: int, batch: int, width: float, half: bool) -> dict[str, Callable[[], None]]:
  """Returns functions that run an encoder on one random view, forward and with gradients, and wait."""
  device = "cuda" if torch.cuda.is_available() else "cpu"
  model = encoder_of(name, side, width)[0].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
  view = torch.randn(batch, 3, side, side, device=device).to(memory_format=torch.channels_last)

  def loss() -> torch.Tensor:
    with torch.autocast(device, torch.bfloat16, enabled=half):
      features = model(view)
    return features.float().square().mean()

  compiled = torch.compile(loss) if device == "cuda" else loss  # on a CPU it requires a C++ compiler

  def forward() -> None:
    with torch.no_grad():
      compiled()
    synchronize(device)

  def gradient() -> None:
    model.zero_grad(set_to_none=True)
    compiled().backward()
    synchronize(device)

  return {"forward": forward, "forward and gradient": gradient}


def synchronize(device: str) -> None:
  """Waits for the kernels of a GPU."""
  if device == "cuda":
    torch.cuda.synchronize()


def stepper(name: str, side: int, batch: int, width: float, half: bool) -> Callable[..., float]:
  """Returns a function that trains on two views float32 [b, 3, h, w] (default: random ones).

  It waits and returns the loss, or returns 0 at once with wait=False.
  """
  device = "cuda" if torch.cuda.is_available() else "cpu"
  encoder, features = encoder_of(name, side, width)
  head = nn.Sequential(nn.Linear(features, 2048), nn.BatchNorm1d(2048), nn.ReLU(inplace=True), nn.Linear(2048, 128))
  model = nn.Sequential(encoder, head).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
  optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
  default = [torch.randn(batch, 3, side, side, device=device).to(memory_format=torch.channels_last) for _ in range(2)]

  def loss(views: Sequence[torch.Tensor]) -> torch.Tensor:
    with torch.autocast(device, torch.bfloat16, enabled=half):
      z = torch.cat([model(view) for view in views])
    z = F.normalize(z.float(), dim=1)
    logits = z @ z.T / 0.2
    logits = logits.masked_fill(torch.eye(2 * batch, dtype=torch.bool, device=device), float("-inf"))
    return F.cross_entropy(logits, torch.arange(2 * batch, device=device).roll(batch))

  compiled = torch.compile(loss) if device == "cuda" else loss  # on a CPU it requires a C++ compiler

  def step(views: Sequence[torch.Tensor] = default, wait: bool = True) -> float:
    optimizer.zero_grad(set_to_none=True)
    moved = [view.to(device, memory_format=torch.channels_last, non_blocking=True) for view in views]
    value = compiled(moved)
    value.backward()
    optimizer.step()
    if not wait:
      return 0.0
    synchronize(device)
    return float(value.detach())

  return step


class Views(torch.utils.data.Dataset):
  """Two views of each image, float32 [3, size, size], decoded and augmented with PIL as in the reference implementations."""

  def __init__(self, files: Sequence[pathlib.Path], view: ViewConfig):
    self.files, self.view = files, view

  def __len__(self) -> int:
    return len(self.files)

  def __getitem__(self, index: int) -> list[np.ndarray]:  # noqa: D105
    image = np.asarray(Image.open(self.files[index]).convert("RGB"))
    return [np.ascontiguousarray(pil_view(image, self.view, v).transpose(2, 0, 1)) for v in range(2)]


def loader(files: Sequence[pathlib.Path], view: ViewConfig, batch: int) -> torch.utils.data.DataLoader:
  """Returns a loader of batches of two views, with one worker per core."""
  return torch.utils.data.DataLoader(
    Views(files, view),
    batch,
    shuffle=True,
    drop_last=True,
    num_workers=os.cpu_count() or 1,
    multiprocessing_context="spawn",  # JAX does not support fork
    persistent_workers=True,
    pin_memory=torch.cuda.is_available(),
  )
