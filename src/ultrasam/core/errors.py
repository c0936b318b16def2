"""The one exception that stands for a user's mistake, and the warning that stands for a remark."""

from __future__ import annotations


class UltrasamError(Exception):
    """Unusable input: the message is one line that says what is wrong and what to do next.

    The command line prints it on stderr and exits with code 2, without a traceback.
    """


class UltrasamWarning(UserWarning):
    """Something that a user should know of a result; one line, which the command line prints."""
