"""The state: flat keys and values, an authenticated tree over them, and what the keys mean."""
