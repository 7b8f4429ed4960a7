"""What tests share. Libraries that would ask a hub about local folders are told not to, before they are imported."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
