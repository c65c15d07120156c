"""Shuts an ext4 file system down as a power cut would: EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.

What is not on the disk by now never gets there; later writes fail with EIO. The argument is the mount point.
"""

import fcntl
import os
import struct
import sys

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2

directory = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
