"""`python -m neurarium` is `neurarium`."""

from neurarium.cli import main

raise SystemExit(main())
