# SPDX-License-Identifier: MIT
"""kill(pid): SIGKILL to a worker; see tests/lib/kill-still.c.
kill_worker_of(supervisor): the same, to whichever it has now.
kill_node(supervisor, worker): to both; neither starts the other again."""
import os
import signal
import time


def stopped(pid):
    for task in os.listdir('/proc/%d/task' % pid):
        with open('/proc/%d/task/%s/stat' % (pid, task)) as f:
            if f.read().rpartition(')')[2].split()[0] not in 'tTZX':
                return False
    return True


def kill(pid):
    # (Not by a child: it would close what it inherits, which sends it.)
    if 'SHAREDFS_FAULTS_KILLER' in os.environ:
        os.kill(pid, signal.SIGSTOP)
        while not stopped(pid):
            time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)


# (No program is asked: it would close what it inherits.)
def kill_worker_of(supervisor):
    with open('/proc/%d/task/%d/children' % (supervisor, supervisor)) as f:
        for pid in f.read().split():
            kill(int(pid))


def kill_node(supervisor, worker):
    os.kill(worker, signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
