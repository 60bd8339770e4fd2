"""Text from files and servers, made safe to show."""


def printable(text: str) -> str:
    """For a terminal or a table: no control characters, no line breaks."""
    return "".join(char if char.isprintable() else "?" for char in text)


def one_line(words: object, *, limit: int = 200) -> str:
    """What somebody else's library says of somebody else's file, short enough to stand in an error of ours."""
    text = printable(" ".join(str(words).split()))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
