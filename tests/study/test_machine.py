"""Hashes of the code."""

from msff.study import machine


def test_docstrings_comments_and_layout_are_no_part_of_the_code():
    code = 'def f(a):\n    """Say."""\n    return a + 1\n'
    same = '"""Module."""\n\n\ndef f(a):  # a\n    "Another."\n    return (\n        a + 1\n    )\n'
    assert machine._code(code) == machine._code(same)
    assert machine._code(code) != machine._code(code.replace("+ 1", "+ 2"))
    assert machine._code("x = 'a'\n") != machine._code("x = 'b'\n")
