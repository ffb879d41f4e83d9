"""`python -m trackside`: commands of the host and the processes of the platform."""

import sys
from argparse import ArgumentParser

from trackside.command import admin, bench, contract, demo, processes, server
from trackside.command.parsing import Parser
from trackside.command.printing import complain
from trackside.kit.errors import TracksideError


def create_parser() -> ArgumentParser:
    """All commands."""
    parser = Parser("trackside", description="Commands of the machine that runs the platform.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    server.add_commands(commands.add_parser("server", help="start, stop and look at the platform"))
    admin.add_commands(commands.add_parser("admin", help="look after the database"))
    processes.add_commands(commands.add_parser("run", help="run one process of the platform (the supervisor does)"))
    demo.add_commands(commands.add_parser("demo", help="deploy the example project and say how to go on"))
    contract.add_commands(commands.add_parser("contract", help="write what clients know of the server: contract/"))
    bench.add_commands(commands.add_parser("bench", help="measure the platform's own share of a deployment"))
    return parser


def main() -> int:
    """Parse, run, and turn errors into sentences."""
    arguments = create_parser().parse_args()
    try:
        return int(arguments.run(arguments))
    except TracksideError as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
