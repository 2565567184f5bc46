"""What each subcommand of `ra3-lab` does: thin functions whose parameters are the command's options."""
