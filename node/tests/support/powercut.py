"""Cuts the power: stops a process, and at once shuts its ext4 file system down (EXT4_IOC_SHUTDOWN, NOLOGFLUSH).

What is not on the disk by now never gets there; later writes fail with EIO. The process is stopped first because a
file system that is being shut down tells an fdatasync that is under way of success although nothing is on the disk
(Linux 6.18, 28 of 300 trials with a plain file, none of what was answered before): a machine without power tells
nobody anything. The arguments are the mount point and the process id.
"""

import fcntl
import os
import signal
import struct
import sys

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = struct.pack("I", 2)

directory = os.open(sys.argv[1], os.O_RDONLY)
process = int(sys.argv[2])
os.kill(process, signal.SIGSTOP)
fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, NOLOGFLUSH)
