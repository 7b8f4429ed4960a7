"""The node as a service of its owner's account: systemd on Linux, launchd on macOS."""
