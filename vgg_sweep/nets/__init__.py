"""The nets: Table 1 as layers (`columns`) and as one module (`vgg`), initial weights (`initial`), files (`weights`)."""
