"""``python -m clipzoo``."""

from clipzoo.cli import main

if __name__ == "__main__":
    main()
