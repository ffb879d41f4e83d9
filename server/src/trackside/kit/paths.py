"""Paths that people write: what keeps one from being the path of a file."""

LONGEST_PATH = 4096
"""Bytes that a system takes as a path."""
LONGEST_NAME = 255
"""Bytes that file systems take between two slashes."""


def flaw_of_path(path: str) -> str | None:
    """Why no file could have this path, to be said after its name; None where one could."""
    if "\0" in path:
        return "contains a NUL character"
    length = len(path.encode(errors="surrogatepass"))
    if length > LONGEST_PATH:
        return f"is {length} bytes long; a path has at most {LONGEST_PATH}"
    longest = max(len(name.encode(errors="surrogatepass")) for name in path.split("/"))
    if longest > LONGEST_NAME:
        return f"has a name of {longest} bytes in it; between two slashes are at most {LONGEST_NAME}"
    return None
