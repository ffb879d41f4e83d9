"""Why no plan could be made."""


class PlanError(Exception):
    """A sentence about what was seen and why it is not enough, and a hint that mends it."""

    def __init__(self, sentence: str, *, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint
