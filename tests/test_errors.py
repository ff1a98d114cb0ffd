"""Messages name what is accepted, and stay readable where that is much."""

from __future__ import annotations

from refine.errors import RefineError, not_accepted, out_of_memory, shown


def test_what_is_accepted_is_listed_with_a_guess() -> None:
    assert str(not_accepted("codec", "covn", ["conv", "linear"])) == (
        "codec='covn' is not accepted; accepted: conv, linear. Did you mean 'conv'?"
    )
    assert str(not_accepted("codec", 3, [])) == "codec=3 is not accepted; accepted: nothing."


def test_a_thousand_classes_are_not_listed_but_guessed_at() -> None:
    message = str(not_accepted("label", "class 77x", [f"class {i}" for i in range(1000)]))
    assert message.startswith("label='class 77x' is not accepted; accepted: class 0, class 1, ")
    assert "class 9, ... (1,000 in all). Did you mean 'class 77" in message and len(message) < 200


def test_a_message_is_one_line_whatever_became_part_of_it() -> None:
    error = RefineError("folder='a\nb\x1b[31m\tc' " + "is " * 2000 + "not accepted")
    text = str(error)
    assert text.startswith("folder='a b [31m c' is is") and text.endswith("is not accepted")
    assert len(text) < 1300 and text.isprintable()


def test_a_long_value_is_not_repeated() -> None:
    assert shown([1, "a"]) == "[1, 'a']"
    assert len(shown("x" * 10_000)) < 80 and shown("x" * 10_000).startswith("'xxx")
    assert shown(10**5000) == "a number of thousands of digits"
    assert len(str(not_accepted("label", "y" * 10_000, ["a"]))) < 200


def test_memory_that_runs_out_is_known_by_what_libraries_say() -> None:
    assert out_of_memory(MemoryError()) and out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't"))
    assert not out_of_memory(RuntimeError("shapes do not fit"))
