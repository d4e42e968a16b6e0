"""What the person at the keyboard did, or can mend.

    UserError         exit code 1: a file, a picture, a data set, a run folder is not as it should be
    └── UsageError    exit code 2: the command itself is wrong (unknown model, option, value)

`edgevision.cli` prints each as one line on stderr; the compiler's own tree is `converters.errors`.
"""


class UserError(Exception):
    """An error with a message for people, an optional next step, and the exit code of the command.

    `message` says where, what was expected and what came; `hint` says what to do, without a full stop.
    """

    def __init__(self, message: str, hint: str | None = None, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(UserError):
    """The command line cannot be what was meant; exit code 2."""

    def __init__(self, message: str, hint: str | None = None, code: int = 2) -> None:
        super().__init__(message, hint, code)


__all__ = ["UsageError", "UserError"]
