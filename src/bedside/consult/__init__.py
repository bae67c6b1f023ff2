"""`consult`: health conversations in plain English, written for this project; ``CARD.md`` says by whom and for what."""
