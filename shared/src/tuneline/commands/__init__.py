"""The commands `tuneline` and `tuneline-<stage>`. No stage enters them."""
