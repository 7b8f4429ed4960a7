"""An adapter's files as strangers write them: read without torch, checked before anything of them is loaded."""
