"""What ``meshtx check`` looks at: pure functions over what was read of the cluster.

    reading ─▶ Snapshot ─▶ each check: Passed | Warned | Failed | Skipped ─▶ Report

Everything is read first, in one go (`reading`); a check then only looks (`Snapshot`). What the user may not read is
no failure: whatever needs it is skipped, with the right that is missing.
"""
