"""`python -m moorage`: the `moorage` command. Nothing else may live here."""

import sys

from moorage.cli.main import main

sys.exit(main())
