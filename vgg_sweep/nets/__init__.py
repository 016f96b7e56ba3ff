"""The nets: Table 1 as layers (`columns`) and as one module (`vgg`), its first weights (`start`), its files (`weights`)."""
