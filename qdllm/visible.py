"""Text from outside as it may be shown: labels, names of files, messages of others.

What cannot be seen is written as an escape: a terminal obeys control characters, a direction
override turns a line around, and a line break makes two of one.
"""

JOINERS = "\u200c\u200d"
"""They are part of the spelling of Persian, of Indic scripts and of emoji, and do no harm."""


def visible(text: object) -> str:
    """One line of characters that can be seen. What has been shown once is shown as it is."""
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(
        letter
        if letter.isprintable() or letter in JOINERS
        else letter.encode("unicode_escape").decode()
        for letter in plain
    )


def visible_lines(text: object) -> str:
    """As `visible`, with the line breaks of a text that has several lines."""
    return "\n".join(map(visible, str(text).split("\n")))
