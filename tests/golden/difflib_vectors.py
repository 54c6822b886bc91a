"""Writes tests/golden/difflib.txt: matching blocks of Python's difflib for tests/engine/difflib_test.c. Three lines a case: a, b, and the blocks as
triples of place in a, place in b and size; each line begins with how many numbers follow."""
import difflib
import random

rng = random.Random(11)


def edit(a, vocabulary, times):
    b = list(a)
    for _ in range(times):
        at = rng.randrange(len(b) + 1)
        kind = rng.randrange(4)
        span = rng.randint(1, 5)
        fresh = [rng.randrange(vocabulary) for _ in range(rng.randint(1, 5))]
        if kind == 0:
            b[at:at] = fresh
        elif kind == 1:
            del b[at : at + span]
        elif kind == 2:
            b[at : at + span] = fresh
        elif b:
            part = b[at : at + span]
            b[at : at + span] = part[::-1]
    return b


with open(__file__.rsplit("/", 1)[0] + "/difflib.txt", "w") as out:
    cases = [([], []), ([1], []), ([], [2]), ([1, 2, 3], [1, 2, 3]), ([1, 1, 1, 1], [1, 1]), ([5, 6], [6, 5])]
    for n in (3, 10, 40, 90, 150, 199, 200, 250, 400):
        for vocabulary in (3, 20, 400):
            a = [rng.randrange(vocabulary) for _ in range(n)]
            cases.append((a, edit(a, vocabulary, rng.randint(1, 8))))
            cases.append((edit(a, vocabulary, 3), [rng.randrange(vocabulary) for _ in range(n)]))
    for a, b in cases:
        blocks = difflib.SequenceMatcher(None, a, b).get_matching_blocks()[:-1]
        for numbers in (a, b, [x for block in blocks for x in block]):
            print(len(numbers), *numbers, file=out)
