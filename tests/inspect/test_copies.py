"""Which images are left out as duplicates, and which test images are reported."""

from jaxssl.inspect.copies import EXACT, IN_TEST, MAY_BE_IN_TEST, NEAR, Copies
from jaxssl.inspect.duplicates import NearPair


def copies(count, test=(), exact=(), near=()):
  return Copies([k in test for k in range(count)], exact, [NearPair(*pair, 0.1) for pair in near])


def test_the_first_of_equal_training_images_remains():
  assert copies(6, exact=[[0, 2, 3], [4, 5]]).redundant() == {2: EXACT, 3: EXACT, 5: EXACT}


def test_a_near_duplicate_is_left_out_only_if_it_is_like_a_remaining_image():
  chain = copies(4, near=[(0, 1), (1, 2), (2, 3)])
  assert chain.redundant() == {1: NEAR, 3: NEAR}
  assert chain.near_groups == [[0, 1, 2, 3]]


def test_all_copies_of_test_images_are_left_out():
  found = copies(8, test=(3, 6), exact=[[0, 1, 3], [4, 5]], near=[(4, 6)])
  assert found.redundant() == {0: IN_TEST, 1: IN_TEST, 4: MAY_BE_IN_TEST, 5: MAY_BE_IN_TEST}
  assert found.in_both() == ([(3, 0)], [(6, 4)])
  assert found.near_groups == [[4, 5, 6]]


def test_a_chain_does_not_reach_the_test_split():
  assert copies(3, test=(2,), near=[(0, 1), (1, 2)]).redundant() == {1: MAY_BE_IN_TEST}


def test_duplicates_within_the_test_split_are_no_overlap():
  found = copies(4, test=(2, 3), exact=[[2, 3]])
  assert found.redundant() == {} and found.in_both() == ([], [])
