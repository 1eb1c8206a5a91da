"""One run: built, trained, recorded, stopped and resumed."""
