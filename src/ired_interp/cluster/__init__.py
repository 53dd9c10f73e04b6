"""Jobs on a cluster: checked before they are queued, submitted at a commit, followed."""
