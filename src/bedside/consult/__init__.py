"""`consult`: health conversations in plain English, written for this project. ``CARD.md`` describes them."""
