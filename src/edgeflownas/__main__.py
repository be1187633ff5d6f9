"""``python -m edgeflownas`` is the command ``edgeflownas``."""

from edgeflownas.cli import main

if __name__ == "__main__":
    main()
