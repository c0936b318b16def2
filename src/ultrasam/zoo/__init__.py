"""Model cards (data only) and the places where models are found."""
