"""Makes trees.db: the same database each time."""

import sqlite3
from pathlib import Path

SPECIES = [
    ("Acer platanoides", "Norway maple", 25),
    ("Aesculus hippocastanum", "Horse chestnut", 30),
    ("Betula pendula", "Silver birch", 20),
    ("Fraxinus excelsior", "Ash", 35),
    ("Platanus x hispanica", "London plane", 35),
    ("Quercus robur", "English oak", 30),
    ("Tilia cordata", "Small-leaved lime", 28),
]
STREETS = ["Harbour Road", "Mill Lane", "Station Street", "Orchard Way", "Old Market"]


def main() -> None:
    path = Path(__file__).with_name("trees.db")
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("create table species (id integer primary key, latin text, name text, height_m integer)")
        database.execute(
            "create table trees (id integer primary key, species_id integer references species(id), street text, planted integer)"
        )
        database.executemany("insert into species (latin, name, height_m) values (?, ?, ?)", SPECIES)
        rows = [(number % len(SPECIES) + 1, STREETS[number * 7 % len(STREETS)], 1900 + number * 37 % 125) for number in range(400)]
        database.executemany("insert into trees (species_id, street, planted) values (?, ?, ?)", rows)
    database.close()


if __name__ == "__main__":
    main()
