"""Messages name what is accepted, and stay readable where that is much."""

from __future__ import annotations

from refine.errors import not_accepted


def test_what_is_accepted_is_listed_with_a_guess() -> None:
    assert str(not_accepted("codec", "covn", ["conv", "linear"])) == (
        "codec='covn' is not accepted; accepted: conv, linear. Did you mean 'conv'?"
    )
    assert str(not_accepted("codec", 3, [])) == "codec=3 is not accepted; accepted: nothing."


def test_a_thousand_classes_are_not_listed_but_guessed_at() -> None:
    message = str(not_accepted("label", "class 77x", [f"class {i}" for i in range(1000)]))
    assert message.startswith("label='class 77x' is not accepted; accepted: class 0, class 1, ")
    assert "class 9, ... (1,000 in all). Did you mean 'class 77" in message and len(message) < 200
