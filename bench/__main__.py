"""`python -m bench`, see bench/commands.py."""

if __name__ == "__main__":
    from bench.commands import main

    main(prog_name="python -m bench")
