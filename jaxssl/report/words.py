"""What the names of figures mean, in words for someone who has never trained without labels."""

import re
from typing import NamedTuple


class Meaning(NamedTuple):
  """A title, one sentence, and whether more is better: 1 more, -1 less, 0 neither."""

  title: str
  says: str
  better: int = 0


MEANINGS = (  # pattern of the name -> meaning; the first that fits
  (r"knn(\d+)_(\w+)", Meaning(r"Nearest neighbours \1", "Percent of pictures whose \\1 most similar training pictures name their class. Nothing is trained.", 1)),
  (r"linear_(\w+)", Meaning(r"Linear classifier (\1)", "Percent of test pictures that a linear classifier on the frozen features gets right.", 1)),
  (r"lowshot\w*", Meaning("Few labels", "Percent right when only a few labelled pictures are given.", 1)),
  (r"finetune\w*", Meaning("Fine-tuned", "Percent right when the whole network is trained further with labels.", 1)),
  (r"effective_rank", Meaning("Effective rank", "How many directions the features really use. Near 1: collapse, all pictures look alike.")),
  (r"rankme", Meaning("RankMe", "The effective rank by another formula.")),
  (r"uniformity", Meaning("Uniformity", "How evenly pictures spread out. Near 0: collapse; more negative: better spread.")),
  (r"alignment", Meaning("Alignment", "Distance between two crops of one picture. Small is good only while pictures stay spread out.")),
  (r"deviation", Meaning("Deviation", "1: features fill the sphere evenly; 0: collapse.")),
  (r"loss", Meaning("Loss", "What training makes small. Its level does not compare between methods.")),
  (r"gradient_norm", Meaning("Gradient norm", "How hard each step pulls. Sudden peaks announce trouble.")),
  (r"learning_rate|lr", Meaning("Learning rate", "Size of the steps.")),
  (r"teacher_entropy", Meaning("Teacher entropy", "How undecided the teacher's targets are, in nats. Near 0, or at its largest value: collapse.")),
  (r"purity", Meaning("Purity of the queue", "Share of the nearest keys in the queue that have the picture's class. Labels only measure.", 1)),
  (r"share_trusted", Meaning("Trusted", "Share of the pictures that may take another picture's view.")),
  (r"share_bootstrapped", Meaning("Bootstrapped", "Share that did take another picture's view.")),
  (r"share_self_neighbor", Meaning("Own nearest neighbour", "Share whose last visit is their nearest neighbour.")),
  (r"neighbor_churn", Meaning("Neighbour churn", "Share of the neighbours that changed since the epoch before; it falls as features settle.")),
  (r"neighbor_top(\d)_label", Meaning(r"Neighbour \1 has the class", "Share of the pictures whose neighbour in the memory has their class.", 1)),
  (r"neighbors_orphans", Meaning("Nobody's neighbours", "Percent of pictures that are among nobody's nearest ones. Hubs raise it.", -1)),
  (r"neighbors_\w+", Meaning("Neighbours of the class", "Percent of nearest training pictures that have the picture's class.", 1)),
  (r"retrieval\w*|recall\w*|map\w*", Meaning("Retrieval", "How well a picture finds the others of its class.", 1)),
  (r"\w*(davies_bouldin)", Meaning("Davies-Bouldin", "How much clusters of classes overlap; less is better.", -1)),
  (r"\w*(silhouette|nmi|ari|purity|hungarian_accuracy)\w*", Meaning(r"Clusters: \1", "How well groups in the features agree with the classes.", 1)),
  (r"pictures_per_second", Meaning("Pictures per second", "Speed of training.", 1)),
  (r"data_wait", Meaning("Wait for data", "Share of the time in which training waited for pictures.")),
)  # fmt: skip


def meaning(name: str) -> Meaning:
  """Gives what a name means; a name that is not known is its own title."""
  for pattern, found in MEANINGS:
    match = re.fullmatch(pattern, name) or re.fullmatch(pattern + r"_(large|rare|leave_one_out)", name)
    if match:
      end = {"large": ", large classes", "rare": ", rare classes", "leave_one_out": ""}
      suffix = next((text for word, text in end.items() if name.endswith("_" + word)), "")
      return Meaning(match.expand(found.title).replace("_", " ") + suffix, match.expand(found.says), found.better)
  return Meaning(name.replace("_", " ").capitalize(), "")


def number(value: float | None) -> str:
  """Writes a value so that it can be read at a glance."""
  if value is None:
    return "not finite"
  if value and (abs(value) < 0.001 or abs(value) >= 100_000):
    return f"{value:.2e}"
  return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
