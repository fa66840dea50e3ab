"""The Runtime API as seen from inside an environment, and the runtimes of this machine."""
