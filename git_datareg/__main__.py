"""`python -m git_datareg`: the program, without its script on PATH."""

from __future__ import annotations

from git_datareg.main import main

if __name__ == "__main__":
    raise SystemExit(main())
