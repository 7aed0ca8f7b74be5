"""Stand-ins for classes of libraries that need not be installed: torch tensors and datasets, Hugging Face datasets."""

import numpy as np


class Tensor:
  """A torch tensor, as far as it is used; its module and name are those by which one is recognized."""

  def __init__(self, array):
    self.array = np.asarray(array)
    self.shape, self.ndim, self.dtype = self.array.shape, self.array.ndim, f"torch.{self.array.dtype}"

  def __len__(self):
    return len(self.array)

  def __getitem__(self, index):
    return Tensor(self.array[index])

  def is_floating_point(self):
    return self.array.dtype.kind == "f"

  def float(self):
    return Tensor(self.array.astype(np.float32))

  def detach(self):
    return self

  def cpu(self):
    return self

  def item(self):
    return self.array.item()

  def numpy(self):
    return self.array

  def __array__(self, dtype=None, copy=None):
    return np.array(self.array, dtype)


Tensor.__module__ = "torch"


class TorchDataset:
  """A torch `Dataset`: a length and items, which are computed; `fields` such as targets and classes."""

  def __init__(self, items, **fields):
    self.items, self.reads = items, 0
    vars(self).update(fields)

  def __len__(self):
    return len(self.items)

  def __getitem__(self, index):
    self.reads += 1
    return self.items[index]


class ClassLabel:
  def __init__(self, names):
    self.names = names


class HuggingFace:
  """A `datasets.Dataset`: rows by number, columns by name, features; `transform` maps rows when they are read."""

  def __init__(self, columns, features, transform=None):
    self.columns, self.features, self.transform, self.rows = columns, features, transform, 0

  def __len__(self):
    return len(next(iter(self.columns.values())))

  def __getitem__(self, key):
    if isinstance(key, str):
      assert self.transform is None and key != "image", "would decode every image"
      return self.columns[key]
    self.rows += 1
    row = {name: column[key] for name, column in self.columns.items()}
    return self.transform(row) if self.transform else row

  def with_format(self, kind):
    assert kind is None
    return HuggingFace(self.columns, self.features)
