import pytest
from katas.tokenization import CharTokenizer

from specs.check import rejects


def test_each_character_has_an_id_in_the_order_of_code_points():
    """Ids count the different characters of the text, in the order of their code points."""
    tokenizer = CharTokenizer("cab é bad!")
    assert tokenizer.encode(" !abcdé") == [0, 1, 2, 3, 4, 5, 6]
    assert tokenizer.vocab_size == 7


@pytest.mark.parametrize("text", ["", "a", "bad cab", "é\n\n  b", "ccc"])
def test_decoding_gives_the_text_back(text):
    """decode(encode(text)) is text."""
    tokenizer = CharTokenizer("cab é bad!\n")
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_ids_may_come_from_any_iterable():
    """decode takes a list, a generator, or a NumPy array."""
    import numpy as np

    tokenizer = CharTokenizer("abc")
    assert tokenizer.decode(number for number in (2, 0)) == "ca"
    assert tokenizer.decode(np.array([1, 1])) == "bb"


def test_no_text_has_no_characters():
    """CharTokenizer("") knows none."""
    tokenizer = CharTokenizer("")
    assert tokenizer.vocab_size == 0
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""


def test_two_tokenizers_share_nothing():
    """What one tokenizer knows, another does not."""
    first, second = CharTokenizer("ab"), CharTokenizer("xyz")
    assert first.encode("b") == [1]
    assert second.encode("z") == [2]
    with rejects(ValueError, "'z'", "0"):
        first.encode("z")


def test_an_unknown_character_is_named_with_its_position():
    """An unknown character raises a ValueError whose message contains the character and its position: the first of several."""
    with rejects(ValueError, "'X'", "3"):
        CharTokenizer("abc").encode("abcXaY")
    with rejects(ValueError, "'X'", "2"):
        CharTokenizer("é").encode("ééX")


def test_upper_and_lower_case_differ():
    """A character is itself alone: "A" is unknown where only "a" was seen, and "é" is not "e" with an accent."""
    tokenizer = CharTokenizer("aé")
    for text in ("A", "e\u0301"):
        with rejects(ValueError, repr(text[0]), "0"):
            tokenizer.encode(text)


@pytest.mark.parametrize("number", [3, -1, -2, -3, 99])
def test_an_id_that_does_not_exist_is_named(number):
    """An id that does not exist raises a ValueError whose message contains it; -1 is not the last one."""
    with rejects(ValueError, str(number)):
        CharTokenizer("abc").decode([0, number])


def test_the_order_is_that_of_code_points():
    """U+FF41 comes before U+1F600, which UTF-16 would put first."""
    assert CharTokenizer("\U0001f600\uff41z").encode("z\uff41\U0001f600") == [0, 1, 2]
