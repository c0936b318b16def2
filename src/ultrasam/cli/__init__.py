"""The `ultrasam` executable: `main` holds the table of verbs, each verb is one module."""
