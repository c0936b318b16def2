"""`python -m ultrasam` is the `ultrasam` command."""

from __future__ import annotations

from ultrasam.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
