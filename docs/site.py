"""Hooks of mkdocs: pages of the repository's root join those of docs/, and links between the two lead to the site's pages.

A link to another file of the repository, which the site does not show, becomes its text.
"""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parent.parent
FROM_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files, config):
  """Adds the pages of the root."""
  for source, page in FROM_ROOT.items():
    files.append(File.generated(config, page, content=(ROOT / source).read_text()))
  return files


def on_page_markdown(markdown, page, config, files):
  """Returns a page whose links lead to pages of the site."""
  sources = {page: source for source, page in FROM_ROOT.items()}
  place = posixpath.dirname(sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

  def link(match: re.Match[str]) -> str:
    path = match["path"]
    if re.match(r"\w+:", path):
      return match[0]
    target = posixpath.normpath(posixpath.join(place, path))
    if not (ROOT / target).exists():
      return match[0]  # mkdocs reports it
    shown = FROM_ROOT.get(target, target.removeprefix("docs/"))
    if files.get_file_from_path(shown) is None:
      return match["text"]
    path = posixpath.relpath(shown, posixpath.dirname(page.file.src_uri) or ".")
    return f"{match['image']}[{match['text']}]({path}{match['anchor'] or ''})"

  return LINK.sub(link, markdown)
