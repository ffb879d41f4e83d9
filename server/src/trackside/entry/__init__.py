"""How requests and jobs come in; no business words here."""
