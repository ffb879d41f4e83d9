"""What people meet when they run a command of the machine as the wrong user, or while the platform is down: told in sentences.

Only for the host's commands: a process of the platform that fails this way shall leave its traceback in its log.
"""

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import wraps

from sqlalchemy.exc import OperationalError

from trackside.host.errors import PartFailed, RightsMissing

Command = Callable[[Namespace], int]


def explained(command: Command) -> Command:
    """The command, with refused files and an unreachable database told as errors of ours, each with what mends it."""

    @wraps(command)
    def told(arguments: Namespace) -> int:
        try:
            return command(arguments)
        except PermissionError as refused:
            again = shlex.join(["sudo", "--preserve-env", "bin/trackside", *sys.argv[1:]])
            raise RightsMissing(
                f"This user may not use {refused.filename}.", hint=f"Run it as root: `{again}`."
            ) from None
        except OperationalError:
            raise PartFailed(
                "The platform's PostgreSQL does not answer.", hint="Start the platform: `bin/trackside server start`."
            ) from None
        except BrokenPipeError:
            # Whoever read has read enough; the interpreter must not try to write the rest at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    return told
