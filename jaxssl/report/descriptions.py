"""What the names of figures mean, in words for someone who has never trained without labels."""

import html
import re
from typing import NamedTuple

from jaxssl.core.errors import one_line


class Meaning(NamedTuple):
  """A title, one sentence, and whether more is better: 1 more, -1 less, 0 neither."""

  title: str
  says: str
  better: int = 0


GROUPS = {  # title -> how names begin, in the order in which they are shown
  "Accuracy": ("knn", "linear", "finetune", "lowshot", "retrieval"),
  "Features": ("effective_rank", "uniformity", "alignment", "deviation", "rankme", "neighbors_", "encoder_", "hidden_")
  + ("feature_", "projection_"),
  "Training": ("loss", "learning_rate", "lr", "gradient_norm"),  # and whatever has no other place, such as a method's figures
  "Bootstrapping": ("share_trusted", "share_", "neighbor_"),
  "Speed": ("images_per_second", "data_wait"),
}  # fmt: skip
SHARED = {  # title of a chart that shows several figures of one run -> which
  "Trusted and bootstrapped": ("share_trusted", "share_bootstrapped"),
  "Neighbors of the class": ("neighbor_top1_label", "neighbor_top2_label"),
}
MEANINGS = (  # pattern of the name, title, whether more is better, sentence; the first that fits
  (r"knn(\d+)_euclidean", r"\1 nearest by distance", 1, r"% right by the vote of the \1 closest training images."),
  (r"knn(\d+)_\w+", r"\1 nearest neighbors", 1, r"% right by the vote of the \1 most similar training images."),
  (r"linear_(\w+)", r"Linear classifier (\1)", 1, "% right of a linear classifier that is trained on the frozen features."),
  (r"lowshot_(\w+?)_\w+", r"Few labels: \1", 1, "% right when only a few images have labels."),
  (r"finetune", "Fine-tuned", 1, "% right after the whole network was trained further with labels."),
  (r"retrieval\w*", "Retrieval", 1, "How well an image finds the others of its class."),
  (r"effective_rank", "Effective rank", 0, "How many directions the features use. Near 1: collapse, all images look alike."),
  (r"rankme", "RankMe", 0, "The effective rank by another formula."),
  (r"uniformity", "Uniformity", 0, "How evenly images spread. Near 0: collapse; more negative: spread wider."),
  (r"alignment", "Alignment", 0, "Distance of two crops of an image. Small is good as long as images stay spread out."),
  (r"deviation", "Deviation", 0, "1: the features fill the sphere evenly; 0: collapse."),
  (r"neighbors_orphans", "Nobody's neighbors", -1, "% of the images that are among nobody's nearest. Hubs raise it."),
  (r"neighbors_\w+", "Neighbors of the class", 1, "% of the nearest training images that have the image's class."),
  (r"(\w+?)_davies_bouldin", r"Davies-Bouldin, \1", -1, "How much the classes overlap."),
  (r"(\w+?)_silhouette_deviation\w*", r"Deviation of silhouettes, \1", 0, "How unequal images are in that."),
  (r"(\w+?)_((silhouette|(minibatch_)?kmeans_)\w*)", r"\2, \1", 1, "How well groups in the features agree with the classes."),
  (r"(feature|projection)_deviation", r"Deviation of \1s", 0, "Of a batch in training. 1: spread evenly; 0: collapse."),
  (r"(feature|projection)_rank", r"Rank of \1s", 0, "Directions that a batch uses. Near 1: collapse."),
  (r"prototypes_used", "Prototypes used", 0, "How many prototypes the teacher's targets use. Near 1: collapse."),
  (r"loss", "Loss", 0, "What training makes small. Its level says nothing across methods."),
  (r"gradient_norm", "Gradient norm", 0, "How hard each step pulls. Sudden peaks announce trouble."),
  (r"learning_rate|lr", "Learning rate", 0, "The size of the steps."),
  (r"teacher_entropy", "Teacher entropy", 0, "How undecided its targets are, in nats. At 0 or at the maximum: collapse."),
  (r"purity", "Purity of the queue", 1, "Share of the nearest keys in the queue that have the image's class."),
  (r"share_trusted", "Trusted", 0, "Share of the images that may take another image's view."),
  (r"share_bootstrapped", "Bootstrapped", 0, "Share of the images that do take another image's view."),
  (r"share_self_neighbor", "Own nearest neighbor", 0, "Share of the images that are nearest to their own last visit."),
  (r"neighbor_churn", "Neighbor churn", 0, "Share of the neighbors that are new in an epoch. It falls as features settle."),
  (r"neighbor_top(\d)_label", r"Neighbor \1 of the class", 0, "Share of the images whose neighbor is of their class."),
  (r"images_per_second", "Images per second", 1, "The speed of training."),
  (r"data_wait", "Wait for data", 0, "Share of the time in which training waited for images."),
)  # fmt: skip
ENDS = {"_head": ", head classes", "_tail": ", tail classes", "_leave_one_out": ""}


def escape(text: str) -> str:
  """Writes text of any origin, such as a file's name, so that a page shows it, in one line, and never obeys it."""
  return html.escape(one_line(text))


def meaning(name: str) -> Meaning:
  """Gives what a name means; a name that is not known is its own title."""
  end = next((end for end in ENDS if name.endswith(end)), "")
  begin = name.removesuffix(end)
  for pattern, title, better, says in MEANINGS:
    if match := re.fullmatch(pattern, begin):
      return Meaning(match.expand(title).replace("_", " ") + ENDS.get(end, ""), match.expand(says), better)
  return Meaning(name.replace("_", " ").capitalize(), "")


def group(name: str) -> str:
  """Gives the title of GROUPS that a figure goes under."""
  return next((title for title, begins in GROUPS.items() if name.startswith(begins)), "Training")


def rank(name: str) -> tuple[int, int]:
  """Orders figures as GROUPS does."""
  title = group(name)
  begins = GROUPS[title]
  return list(GROUPS).index(title), next((i for i, begin in enumerate(begins) if name.startswith(begin)), len(begins))


def number(value: float | None) -> str:
  """Writes a value so that it can be read at a glance; None: it was no finite number."""
  if value is None:
    return "not finite"
  size = abs(value)
  if size and (size < 0.001 or size >= 100_000):
    return f"{value:.2e}"
  return f"{value:.{0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3}f}"
