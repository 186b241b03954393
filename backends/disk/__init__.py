"""What the stores on a local disk share: whose files are used, file locks, full disks."""
