import pydoc_data.topics
import warnings

from katas.tokenization import BPETokenizer, CharTokenizer


def test_tokens_are_half_as_many_as_characters_and_no_word_is_unknown(tell):
    """With 1,000 ids the last tenth of Python's documentation has at most half as many tokens as characters, though many of
    its words never stand in the rest. Decoded, it is the same text.
    """
    text = "\n".join(pydoc_data.topics.topics.values())
    train, test = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
    words = set(train.split())
    unknown = sum(word not in words for word in test.split()) / len(test.split())
    characters = CharTokenizer(text).encode(test)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer = BPETokenizer.train(train, 1000)
    ids = tokenizer.encode(test)
    tell(f"{len(characters):,} characters are {len(ids):,} tokens; {unknown:.0%} of the words were never seen")
    assert unknown > 0.05
    assert tokenizer.decode(ids) == test
    assert 2 * len(ids) <= len(characters)
