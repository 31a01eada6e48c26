"""What every device, plan and screen of a solid-state-battery laboratory stands on."""
