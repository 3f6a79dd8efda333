"""`python -m emsyolo`: the command, where its own name is not on the path."""

from emsyolo.app.command import main

if __name__ == "__main__":
    main()
