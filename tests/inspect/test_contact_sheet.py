"""The contact sheet shows pairs side by side with their names."""

import numpy as np

from jaxssl.inspect import contact_sheet


def test_pairs_of_any_size_are_drawn_beside_each_other():
  red, blue = np.zeros((30, 90, 3), np.uint8), np.zeros((2000, 1, 3), np.uint8)
  red[..., 0], blue[..., 2] = 255, 255
  names = [["a/1.jpg", "é\n\u202e日本" + "x" * 500]] * 4
  sheet = np.asarray(contact_sheet.draw("four pairs", [[red, blue]] * 4, names)).astype(int)
  reds = np.argwhere((sheet[..., 0] > 250) & (sheet[..., 2] < 5))
  blues = np.argwhere((sheet[..., 2] > 250) & (sheet[..., 0] < 5))
  assert len(reds) == 4 * 160 * 53 and len(blues) == 4 * 160
  assert reds[:, 0].max() - reds[:, 0].min() > 160  # three pairs in the first row, one in the second
  assert sheet.min() == 0  # text
  assert (sheet[:, :8] == 216).all() and (sheet[:, -8:] == 216).all()  # within the margins, however long


def test_letters_that_the_font_lacks_are_escaped():
  names = [["ü 😀", "ü 😀"]], [["\\xfc \\U0001f600"] * 2]
  drawn, expected = (contact_sheet.draw("", [[np.zeros((4, 4, 3), np.uint8)] * 2], pair) for pair in names)
  assert (np.asarray(drawn) == np.asarray(expected)).all()
