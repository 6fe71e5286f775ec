"""MiniStack as a child process that ends with its parent; configured by its environment.

It must never be run without BIND_HOST=127.0.0.1: see tests.support.backends.
"""

from ministack.app import main

from moorage.children import exit_with_parent

if __name__ == "__main__":
    exit_with_parent()
    main()
