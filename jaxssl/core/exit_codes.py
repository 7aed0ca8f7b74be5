"""The exit codes of every command and their meaning. `launch/common.sh` holds the numbers, by which launchers restart runs."""

DONE = 0
FAILED = 1
MISTAKE = 2
DIVERGED = 3
AGAIN = 75  # EX_TEMPFAIL of sysexits.h
INTERRUPTED = 130

# code -> its meaning, and whether to rerun the same command: the table of docs/reliability.md
MEANINGS = {
  DONE: ("finished", ""),
  FAILED: (
    "failed unexpectedly, with a traceback; or a run of `compare` failed; or an export does not match",
    "yes, a few times",
  ),
  MISTAKE: ("a mistake in the input, explained in one line; or a full disk", "after fixing it"),
  DIVERGED: ("the loss or the weights are not finite, or an alert named in `health.stop` was raised", "with other values"),
  AGAIN: (
    "stopped by SIGTERM or SIGUSR1, with all steps saved; or another process died, or storage did not respond",
    "yes, it resumes",
  ),
  INTERRUPTED: ("stopped by Ctrl-C, with all steps saved; or ended by a second one", "yes, it resumes"),
}
