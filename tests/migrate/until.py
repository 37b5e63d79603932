# SPDX-License-Identifier: MIT
# Runs a command on a terminal of its own, waits for words in what it prints,
# runs another command, and then does something to it:
#   until.py WORDS THEN enter|SIGNAL COMMAND…
# THEN is run by the shell.  Prints everything that the command printed; the
# exit code is the command's, as a shell has it.
import os, pty, signal, subprocess, sys

words, then, what = sys.argv[1:4]
pid, tty = pty.fork()
if pid == 0:
    os.execvp(sys.argv[4], sys.argv[4:])
text, done = "", False
while True:
    try:
        b = os.read(tty, 65536)
    except OSError:
        b = b""
    if not b:
        break
    text += b.decode(errors="replace")
    if not done and words in text:
        done = True
        subprocess.run(then, shell=True, check=True)
        if what == "enter":
            os.write(tty, b"\n")
        else:
            for name in what.split("+"):
                os.kill(pid, getattr(signal, "SIG" + name))
status = os.waitpid(pid, 0)[1]
print(text)
code = os.waitstatus_to_exitcode(status)
sys.exit(code if code >= 0 else 128 - code)
