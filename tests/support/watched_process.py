"""Runs ``bedside`` and writes down every place that this process looked up or connected to.

python tests/support/watched_process.py FILE VERB ...
"""

import sys

WATCHED = {"socket.connect": lambda a: a[1], "socket.getaddrinfo": lambda a: a[:2], "socket.gethostbyname": lambda a: a}


def watch(event, arguments):
    if event in WATCHED:
        with open(sys.argv[0], "a") as out:
            out.write(f"{WATCHED[event](arguments)}\n")


if __name__ == "__main__":
    del sys.argv[0]
    sys.addaudithook(watch)
    from bedside.cli.main import main

    main()
