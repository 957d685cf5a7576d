import sys

from msff.cli.entry import main

sys.exit(main())
