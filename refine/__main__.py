"""``python -m refine``."""

from refine.cli import main

if __name__ == "__main__":
    main()
