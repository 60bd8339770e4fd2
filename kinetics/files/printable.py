"""Text from files and servers, made safe to show."""


def printable(text: str) -> str:
    """For a terminal or a table: no control characters, no line breaks."""
    return "".join(char if char.isprintable() else "?" for char in text)
