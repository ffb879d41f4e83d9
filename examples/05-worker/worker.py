"""Samples the machine's load until it is told to end."""

import os
import signal
import sqlite3
import threading

import humanize

EVERY_SECONDS = float(os.environ.get("EVERY_SECONDS", "5"))


def main() -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    database = sqlite3.connect("samples.db")
    database.execute("create table if not exists samples (at text default current_timestamp, load real)")
    print("worker started", flush=True)
    while not ended.wait(EVERY_SECONDS):
        database.execute("insert into samples (load) values (?)", (os.getloadavg()[0],))
        database.commit()
        count, average = database.execute("select count(*), avg(load) from samples").fetchone()
        print(f"{humanize.intcomma(count)} samples, average load {average:.2f}", flush=True)
    database.close()
    print("worker ended", flush=True)


if __name__ == "__main__":
    main()
